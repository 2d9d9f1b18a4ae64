/* Unit tests as a reward: the code in an answer is run with the tests of its row, in a sandbox (reward/sandbox.h).
 *
 * The code is the answer's last fenced block (```), a block that is not closed up to the answer's end, or the whole answer where it has
 * none.  A row has its tests as
 *
 *     "tests": text                  each `assert` at its outermost level is a test, other statements are run along; where it has no
 *                                    assert, all of it is one test
 *     "tests": [text, ..]            each text is one test
 *     "test", "entry_point"          HumanEval's: one test, the text and then check(entry_point); where the code does not define that
 *                                    function, the row's "prompt" is put before it, where that is text
 *
 * The score is the share of tests that hold, or with score=all 1 where all do and else 0.  Code that raises, or ends the process, before
 * its tests are through has passed those that were.  Python's `__name__` is "answer", so what stands under
 * `if __name__ == "__main__"` is not run.
 *
 *     options, separated by commas
 *     field=F        another field than "tests"
 *     score=S        share (the default) or all
 *     timeout=N      seconds of processor time for the code with all its tests: 4; three times as much by the clock
 *     memory=N       MiB of address space: 512
 *     jobs=N         run at the same time: as many as there are processors; scores do not depend on it
 *     command=LINE   another language: `sh -c LINE`, to the end of the options, reads the code and then a test on standard input, and
 *                    ends with 0 where it holds; a list of tests takes a run each
 *
 * A sandbox keeps code from doing harm; it does not make tests say more than they ask.  What passes is said on a channel that begins
 * with a number which the code is not told, so that neither sys.exit(0) nor printing gets a point; code that looks for that number in
 * the frames of Python, or returns an object that equals everything, would. */
#ifndef HONE_REWARD_UNIT_TESTS_H
#define HONE_REWARD_UNIT_TESTS_H

#include <stdbool.h>

#include "data/rows.h"
#include "reward/sandbox.h"

struct answer_text;

struct unit_tests {
    char *field, *command; /* command NULL: Python */
    bool all;              /* score=all */
    struct sandbox_limits limits;
    size_t at_once;
};

/* Read the options, "" for none.  Released in all cases. */
int unit_tests_parse(struct unit_tests *t, const char *options, struct err *err);
void unit_tests_release(struct unit_tests *t);

/* Does the row have tests?  A sentence that names file (`path`), line and field if not. */
int unit_tests_check_row(const struct unit_tests *t, const struct row *row, const char *path, struct err *err);

/* Do sandbox and interpreter work, and are the tests of all rows, which have some, code? */
int unit_tests_check(const struct unit_tests *t, const struct dataset *rows, struct err *err);

/* scores: (n) out.  Rows were checked.  -1 and a sentence where a sandbox could not be made. */
int unit_tests_score(double *scores, const struct unit_tests *t, const struct answer_text *answers, size_t n, struct err *err);

/* The code in an answer of n bytes, as a place in it. */
const char *unit_tests_code(const char *text, size_t n, size_t *length);

#endif
