/* Rewards that a rule gives: what can be said of an answer without a model.
 *
 *     length:target=N    -|tokens - N| / N
 *     length:limit=N     0 up to N tokens, -(tokens - N) / N beyond
 *     overlong:cache=C   DAPO's soft punishment (Yu et al. 2025, eq. 13), with L = max_completion_length: 0 up to L - C
 *                        tokens, then falling to -1 at L
 *     regex:PATTERN      1 where the pattern (PCRE2) is found in the answer, else 0
 *     answer             1 where the last number in the answer is the last number in the row's field "answer", else 0;
 *                        numbers are compared as written out: 1,000.50 is 1000.5
 *     answer:field=F     .. in the row's field F
 *     answer:pattern=P   .. what the pattern's first group (or the whole pattern) matched last, compared with the field as text,
 *                        spaces around it aside; with a field as well: answer:field=F,pattern=P
 *     rubric:FILE        share of a rubric's checks that the answer passes, of those that apply (reward/rubric.h); 1 where none does
 *     tests              share of the row's unit tests that the code in the answer passes, run in a sandbox; with options behind a
 *                        colon (reward/unit_tests.h)
 *
 * Tokens are counted as in completions/mean_length, the end token included.  Text is the answer without its end token. */
#ifndef HONE_REWARD_RULE_H
#define HONE_REWARD_RULE_H

#include "reward/rubric.h"
#include "reward/unit_tests.h"

enum rule_kind { RULE_LENGTH_TARGET, RULE_LENGTH_LIMIT, RULE_OVERLONG, RULE_REGEX, RULE_ANSWER, RULE_RUBRIC, RULE_TESTS };

struct rule {
    enum rule_kind kind;
    double tokens;           /* N or C */
    struct pattern *pattern; /* of regex, and perhaps of answer */
    char *field;             /* of answer */
    struct rubric *rubric;
    struct unit_tests tests;
};

/* An answer as rules and programs see it. */
struct answer_text {
    const struct row *row; /* with its fields */
    char *text;            /* n bytes, not always UTF-8 to the last one: an answer may be cut within a character */
    size_t n, tokens, max_tokens;
    bool finished; /* it ended by itself */
};

/* Read what stands behind "rule:".  -1 and a sentence if it is no rule; nothing is left to release then. */
int rule_parse(struct rule *r, const char *spec, struct err *err);
void rule_release(struct rule *r);

/* "length", "overlong", "regex", "answer", "rubric", "tests". */
const char *rule_name(const struct rule *r);
bool rule_reads_text(const struct rule *r);
bool rule_reads_row(const struct rule *r); /* its fields */

/* Does the row have what the rule compares with?  A sentence that names file (`path`), line and field if not. */
int rule_check_row(const struct rule *r, const struct row *row, const char *path, struct err *err);

/* Do all, and does what the rule runs work here? */
int rule_check(const struct rule *r, const struct dataset *rows, struct err *err);

/* The rule's numbers for n answers: scores (n): out; rows were checked.  A match that takes more than a million steps counts as none;
 * a rubric whose patterns run into such limits is an error. */
int rule_score(double *scores, const struct rule *r, const struct answer_text *answers, size_t n, struct err *err);

#endif
