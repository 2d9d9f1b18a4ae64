/* Data sets: files of rows, whatever their format, as one kind of struct.
 *
 * Files: JSON lines, a JSON array of objects, CSV with a header row (RFC 4180), each also gzipped.
 * "-" is standard input.  The rows' format is recognised from the fields of the first row, and
 * every other row must have the same:
 *
 *     fields                               kind             what it is, in TRL's words or others'
 *     text                                 ROWS_TEXT        language modelling
 *     messages                             ROWS_CHAT        language modelling, chat form
 *     prompt                               ROWS_PROMPT      prompt only
 *     prompt, completion                   ROWS_COMPLETION  prompt-completion, demonstrations
 *     instruction, output (input)          ROWS_COMPLETION  Alpaca
 *     prompt, chosen, rejected             ROWS_PAIR        preference, explicit prompt
 *     chosen, rejected                     ROWS_PAIR        .. implicit: what both begin with
 *     .. both as "\n\nHuman: .."           ROWS_PAIR        hh-rlhf transcripts, made messages
 *     prompt, a, b, label or p_a           ROWS_PAIR        judgements: "a", "b" or "tie", or the
 *                                                           chance that a is the better one
 *     prompt, completion, rating           ROWS_RATING      answers with a grade, 1 the worst
 *     prompt, completion, label (a bool)   ROWS_UNPAIRED    unpaired preference
 *     prompt, completions, labels          ROWS_STEPWISE    stepwise supervision
 *     prompt, completions, ranks           ROWS_RANKING     answers in an order, 1 the best
 *     input_ids (prompt_length)            ROWS_IDS         token ids
 *     prompt_ids, completions              ROWS_IDS         one prompt with k completions, as ids
 *     score                                ROWS_SCORES      what `hone score` writes
 *
 * Any row may also have: id, score, weight, margin, strength, annotator, group, and for the chat
 * template tools, documents, chat_template_kwargs.  Messages may have more than role and content:
 * tool_calls, tool_call_id, name, reasoning_content ..  Other fields are ignored, or kept as they
 * are (keep_fields) for what scores answers.
 *
 * Chat form is the normal form.  A prompt given as text becomes one user message, a completion
 * given as text one assistant message; with `keep_plain` both stay text.  Messages stay messages
 * in either case.  Plain chosen and rejected without a prompt (which are not transcripts) have no
 * roles and always stay text. */
#ifndef HONE_DATA_ROWS_H
#define HONE_DATA_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/chat.h"
#include "util/err.h"

enum rows_kind {
    ROWS_TEXT,       /* no prompt; completions[0] is the text */
    ROWS_CHAT,       /* no prompt; completions[0] is the whole conversation */
    ROWS_PROMPT,     /* prompt; no completions */
    ROWS_COMPLETION, /* prompt, completions[0] */
    ROWS_PAIR,       /* prompt, completions[0] = chosen or a, [1] = rejected or b; label, p_a */
    ROWS_UNPAIRED,   /* prompt, completions[0], good */
    ROWS_STEPWISE,   /* prompt, completions = the steps (always text), step_good */
    ROWS_IDS,        /* prompt, completions[0..k) as ids */
    ROWS_SCORES,     /* score alone */
    ROWS_RATING,     /* prompt, completions[0], ratings */
    ROWS_RANKING,    /* prompt, completions[0..k), k > 1; ranks */
};

/* One of: messages (n_messages > 0), text (not NULL), ids (n_ids > 0), or nothing at all. */
struct row_part {
    struct message *messages;
    size_t n_messages;
    char *text;
    int32_t *ids;
    size_t n_ids;
};

#define ROWS_MAX_RATING 20

enum row_label { ROW_NO_LABEL, ROW_A, ROW_B, ROW_TIE };

struct row {
    /* Given, or "row-" and the first 16 hex digits of the SHA-256 of the row's content, so that two
     * rows that say the same have one id. */
    char *id;
    bool id_given;
    size_t line; /* where the row begins in its file, from 1 */
    struct row_part prompt;
    bool system_added; /* prompt (or conversation) begins with rows_config's system message */
    struct row_part *completions;
    size_t n_completions;
    enum row_label label;    /* ROWS_PAIR: which one is better; chosen is ROW_A */
    double p_a;              /* .. chance that completions[0] is; from the label if not given */
    bool good;               /* ROWS_UNPAIRED */
    bool *step_good;         /* ROWS_STEPWISE: (n_completions) */
    size_t *ratings;         /* ROWS_RATING: (n_completions) 1 (the worst) .. ROWS_MAX_RATING */
    size_t *ranks;           /* ROWS_RANKING: (n_completions) from 1, the best; not all are equal */
    double score, strength;  /* NAN where not given */
    double weight, margin;   /* 1 and 0 where not given */
    char *annotator, *group; /* NULL where not given */
    json_t *variables;       /* of its own for the chat template (tools ..), or NULL */
    json_t *fields;          /* the whole record, where rows_config asked for it; else NULL */
};

/* What was found on the way. */
#define DATA_WARNINGS 20
struct data_report {
    size_t rows;                /* in the data set */
    size_t skipped;             /* refused rows that skip_bad left out */
    size_t duplicates;          /* rows whose content (the id aside) an earlier row has */
    size_t duplicate_ids;       /* rows whose given id an earlier row has */
    size_t equal_pairs;         /* pairs whose two answers are the same */
    size_t no_common_prompt;    /* implicit prompts: conversations that differ from the start */
    size_t warnings;            /* the five above together */
    char *texts[DATA_WARNINGS]; /* the first warnings as sentences with line and field */
    size_t n_texts;
};

struct dataset {
    char *path;
    char *format_name; /* "gzipped JSON lines of demonstrations (prompt, completion) as messages" */
    enum rows_kind kind;
    struct row *rows;
    size_t n, capacity;
    struct data_report report;
};

struct rows_config {
    bool keep_plain; /* prompts and completions given as text stay text */
    /* Only prompts are wanted: a text, a conversation or input_ids is a prompt as a whole (an
     * assistant's last answer is cut off), without completions. */
    bool prompts;
    /* Leave out, and count, rows with a missing, empty or wrong field instead of failing.  A file
     * that cannot be parsed fails all the same. */
    bool skip_bad;
    bool keep_fields;          /* rows keep all their fields, known or not */
    const char *system;        /* message for chat rows that have none of that role, or NULL */
    size_t max_line, max_file; /* ceilings in bytes, unpacked; 0: the two below */
};
#define ROWS_MAX_LINE ((size_t)64 << 20)
#define ROWS_MAX_FILE ((size_t)8 << 30)

/* Read a file; config may be NULL.  Returns 0, or -1 with a sentence naming file, line, field and
 * remedy; then there is nothing to release. */
int dataset_read(struct dataset *data, const char *path, const struct rows_config *config,
                 struct err *err);

/* The same from memory; `name` is what the sentences call it, and its ending (.csv) counts. */
int dataset_parse(struct dataset *data, const char *name, const char *bytes, size_t n,
                  const struct rows_config *config, struct err *err);

void dataset_release(struct dataset *data);

/* What was said last in the row's prompt: its last message, or its text; "" where there is neither. */
const char *row_prompt_text(const struct row *row);

/* Leave only the rows whose field "group" is so. */
void dataset_keep_group(struct dataset *data, const char *group);

/* The part as data files have it: messages, a text, or ids. */
void row_part_json(struct buf *out, const struct row_part *p);

/* A field of a row that kept them, as text: a fresh string, NULL where it is neither text nor a number. */
char *row_field_text(const struct row *row, const char *name);

/* The row's word in the random numbers' counter (law 2): from its given id, else its line. */
uint32_t row_rng_key(const struct row *row);

/* SHA-256 of the row's prompt (without an added system message), in hex.  Rows without a prompt
 * count their conversation up to the first answer, their text, or their ids. */
void row_prompt_hash(char out[65], const struct row *row);

/* Of what stands before the first answer in it: the same for all rows that were cut out of one conversation. */
void row_opening_hash(char out[65], const struct row *row);

#endif
