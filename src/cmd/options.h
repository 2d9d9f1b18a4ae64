/* Options of a command, declared once: the table says name, type, default, range and help, and
 * where in the command's struct the value goes.  Parsing, --config FILE.yaml, --help, range checks
 * and config.yaml all come from it.
 *
 *     struct sft_args { struct train_args train; const char *model; double beta; bool shuffle; };
 *     static const struct option own[] = {
 *         {"model", OPTION_STRING, offsetof(struct sft_args, model), NULL, "the model's folder",
 *          .required = true, .value = "PATH"},
 *         {"beta", OPTION_FLOAT, offsetof(struct sft_args, beta), "0.1", "weight of the KL term",
 *          .min = 0, .max = 10},
 *         {"shuffle", OPTION_BOOL, offsetof(struct sft_args, shuffle), "true", "new row order"},
 *     };
 *     static const struct option_group groups[] = {
 *         {"Method", own, ARRAY_LEN(own), 0},
 *         {"Training", train_options, N_TRAIN_OPTIONS, offsetof(struct sft_args, train)},
 *     };
 *     static const struct option_spec spec = {.command = "sft", .summary = "..", .usage = "..",
 *                                             .groups = groups, .n_groups = ARRAY_LEN(groups)};
 *
 * On the command line: --beta 0.2, --beta=0.2; a bool as --shuffle, --no-shuffle, --shuffle=false;
 * a list by repeating its flag.  Dashes and underscores are the same.  Where a flag is given twice
 * the last one counts.  --config FILE.yaml is a flat mapping of the same names (lists as YAML
 * lists, null for "not given"); the command line wins over it.  --help and -h ask for help, --check
 * whether the options are right; "--" ends the options. */
#ifndef HONE_CMD_OPTIONS_H
#define HONE_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/err.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

enum option_type {
    OPTION_BOOL,   /* bool */
    OPTION_INT,    /* int64_t; 1000000 or 1e6 */
    OPTION_FLOAT,  /* double, always finite */
    OPTION_STRING, /* const char *, NULL without a default */
    OPTION_LIST,   /* struct strings, empty without a default */
    OPTION_CHOICE, /* int: index into `choices` */
};

struct strings {
    const char **data;
    size_t n;
};

struct option {
    const char *name; /* with underscores, as TRL has it */
    enum option_type type;
    size_t offset; /* of the field, in the group's struct */
    /* As one would type it; NULL: 0, false, NULL, an empty list, the first choice. */
    const char *default_value;
    const char *help; /* one sentence, lower case, no full stop */
    bool required;
    /* Range of a number.  max 0: no upper bound; both 0: any (at least 0: .max = INFINITY). */
    double min, max;
    bool above_min;             /* min itself is out of range */
    bool commas;                /* a list may also be given as one,two,three */
    const char *const *choices; /* ends with NULL */
    const char *value;          /* what --help calls the value: "PATH"; NULL: by type */
    const char *alias;          /* a second name (TRL's where ours is shorter), or NULL */
    bool momentary;             /* of one call, not a setting: left out of config.yaml */
};

struct option_group {
    const char *title;
    const struct option *options;
    size_t n;
    size_t offset; /* of the group's struct in the command's */
};

struct option_spec {
    const char *command; /* "sft" */
    const char *summary; /* what it does, for --help */
    const char *usage;   /* "hone sft --model M --train-data F --output-dir D" */
    const char *example; /* a whole line to try, or NULL */
    const struct option_group *groups;
    size_t n_groups;
    const char *operand; /* what arguments without a flag are called ("FILE"); NULL: none */
    size_t min_operands, max_operands;
};

/* The result.  Owns every string that the command's struct points to, so it is released last. */
struct options {
    const struct option_spec *spec;
    void *args; /* the command's struct */
    struct strings operands;
    unsigned char *sources; /* an entry an option: where its value came from */
    void **owned;
    size_t n_owned, capacity;
};

/* Fill `args` (a command's struct, overwritten where the table says) from argv[1..argc).  Returns
 * 0; 1 if help was asked for, 2 if only a look at the options; -1 with a sentence naming flag, or
 * file and line.  Release in all cases. */
int options_parse(struct options *o, const struct option_spec *spec, void *args, int argc,
                  char **argv, struct err *err);
void options_release(struct options *o);

/* Was it given, on the command line or in the file?  The name must be in the table. */
bool options_given(const struct options *o, const char *name);

/* The text of --help; every option (the momentary aside) with its resolved value as YAML, which
 * --config reads back to the same values. */
void options_help(const struct option_spec *spec, struct buf *out);
void options_write_yaml(const struct options *o, struct buf *out);

/* Of `n` names the one that was most likely meant by `word`, or NULL. */
const char *options_nearest(const char *word, const char *const *names, size_t n);

#endif
