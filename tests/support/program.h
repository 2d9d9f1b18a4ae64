/* The program from outside: tests that run `hone` in a fresh folder, the sandbox, and look at what it leaves.
 *
 * sandbox_enter makes the sandbox the working folder.  In it "golden" is the project's tests/golden, "recipes" its recipes
 * and "shared" the folder of shared values (where there is one).  Lines are run by sh with $HONE as the program, which the environment
 * variable of that name says (else build/hone); programs have one thread unless a line says otherwise. */
#ifndef HONE_TESTS_PROGRAM_H
#define HONE_TESTS_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "support/support.h"

/* A group's setup and teardown, for cmocka. */
int sandbox_enter(void **state);
int sandbox_leave(void **state);

/* Are the shared values there?  Where not, that is printed, for the caller to skip(). */
bool sandbox_has_shared(void);

/* The real model that long tests want, from the environment variable HONE_MODEL, or NULL. */
const char *real_model(void);

struct ended {
    int code; /* of exit, or 128 + the signal that ended it */
    char *out, *err;
};
void ended_release(struct ended *e);

/* Run a line to its end: run("$HONE sft --model %s ..", model). */
struct ended run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same, which must end with 0: else the test fails with what the program said. */
void run_ok(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Start a line (its output goes nowhere) and kill it with SIGKILL as soon as `path` has `lines` lines.  Returns whether
 * it was killed; false: it had ended before. */
bool run_and_kill_at_line(const char *line, const char *path, size_t lines);

/* Run a line and kill it with SIGKILL just before the n-th (from 1) of its calls to the system that change a file or a
 * folder.  false: it ended before, having made fewer.  -1: the system does not let a program be traced. */
int run_and_kill_at_call(const char *line, size_t n);

/* Files.  text_read returns a fresh string (and its size, where size is not NULL). */
void text_write(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *text_read(const char *path, size_t *size);
void bytes_write(const char *path, const void *data, size_t n);
bool is_there(const char *path);
void drop(const char *folder); /* remove it, if it is there */

/* A file of 20 judgements of made-up answers to different prompts, each with a number as "answer". */
void write_twenty_judgements(const char *path);

/* A folder with a small tokenizer of our own (tests/golden/tokenizer.json) and a plain ChatML template. */
void write_tokenizer(const char *folder);

/* A folder with the tiny llama model, this tokenizer and template, and 2,048 positions: what a judge's questions need. */
void write_long_model(const char *folder);

/* All regular files below a folder, as sorted lines "PATH SIZE SHA-256", and links as "PATH -> TARGET"; "" where there is none. */
char *folder_listing(const char *path);

/* JSON lines, a fresh array of them; those of a file. */
json_t *json_lines(const char *text);
json_t *json_lines_of(const char *path);

/* Those of a run's metrics.jsonl; and a number in one of them, which must be there. */
json_t *metrics_of(const char *dir);
double metric(const json_t *lines, size_t line, const char *key);

/* The bytes of two files, or of `name` in two folders, are the same: else the test fails and names them. */
void expect_same_file(const char *a, const char *b, const char *name);

/* Metrics and adapter of two runs are the same. */
void expect_equal_runs(const char *straight, const char *dir);

/* A line that fails, and says `what` on standard error. */
void expect_refused(const char *line, const char *what);

/* A line that ends with this code and one sentence on standard error that holds `what`, before there is an output folder `out`, which is
 * added to it. */
void expect_refused_early(int code, const char *what, const char *line);

#endif
