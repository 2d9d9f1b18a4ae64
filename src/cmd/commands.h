/* The commands of `hone COMMAND`.  Each stands in its own file src/cmd/cmd_NAME.c and has a row in
 * the table of main.c.  argv[0] is the command's name.  A command prints, and returns the exit code
 * of the program. */
#ifndef HONE_CMD_COMMANDS_H
#define HONE_CMD_COMMANDS_H

#include "cmd/options.h"
#include "util/err.h"

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* one line "hone: COMMAND: what: why: what to do" on standard error */
    EXIT_USAGE = 2,  /* wrong usage: an unknown flag, a value out of range */
};

/* options_parse() as every command wants it: help goes to standard output, an error to standard
 * error.  Returns -1 to go on, else the exit code (`o` is released then):
 *
 *     int code = command_options(&o, &spec, &args, argc, argv);
 *     if (code >= 0)
 *         return code;
 */
int command_options(struct options *o, const struct option_spec *spec, void *args, int argc,
                    char **argv);

/* Print "hone: COMMAND: sentence"; returns EXIT_FAILED. */
int command_failed(const char *command, const struct err *err);

/* The same for wrong usage that the table of options cannot tell; returns EXIT_USAGE. */
int command_misused(const char *command, const struct err *err);

int cmd_demo(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_sft(int argc, char **argv);
int cmd_reward(int argc, char **argv);
int cmd_ppo(int argc, char **argv);
int cmd_grpo(int argc, char **argv);
int cmd_rloo(int argc, char **argv);
int cmd_online_dpo(int argc, char **argv);
int cmd_dpo(int argc, char **argv);
int cmd_kto(int argc, char **argv);
int cmd_orpo(int argc, char **argv);
int cmd_cpo(int argc, char **argv);
int cmd_iterate(int argc, char **argv);
int cmd_irl(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_logprobs(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_average(int argc, char **argv);
int cmd_bench(int argc, char **argv);

#endif
