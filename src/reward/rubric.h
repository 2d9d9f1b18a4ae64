/* A rubric: named checks on an answer, by rule, read from a file.  The cheap, exact counterpart of
 * a judge.
 *
 *   checks:
 *     - name: next step
 *       when_prompt: "\\?$"              # the check is for these prompts only (optional)
 *       unless_prompt: "thank(s| you)"   # ... and not for these (optional)
 *       conditions:                      # all must hold
 *         - scope: last_sentence         # answer (default), first_sentence or last_sentence
 *           must_match: "\\b(call|bring)\\b"
 *         - min_words: 20
 *           max_words: 50
 *           must_not_match: ["\\bas an ai\\b", "\\blorem\\b"]
 *
 * The file is YAML, of which JSON is a part; anchors and aliases may share a pattern.  A setting
 * holds one pattern or a list: of must_match, when_prompt and unless_prompt it is enough that one
 * is found; of must_not_match none may be.  Patterns are Perl's (PCRE2), with Unicode, found
 * anywhere in the text, and blind to case unless they begin with (?-i).  In prompts and answers a
 * curly apostrophe is read as a straight one.  Bytes that are not UTF-8 match nothing.  Words and
 * sentences are those of util/textstats.h. */
#ifndef HONE_REWARD_RUBRIC_H
#define HONE_REWARD_RUBRIC_H

#include <stddef.h>

#include "util/stats.h"
#include "util/err.h"

struct rubric;

enum rubric_verdict { RUBRIC_FAIL, RUBRIC_PASS, RUBRIC_NOT_APPLICABLE };

/* A rubric from a file or from text (`name` stands for the file in errors); NULL and a sentence
 * with file and line if it is not one.  At most 1 MiB, 1,000 checks, 10,000 conditions and as many
 * patterns. */
struct rubric *rubric_load(const char *path, struct err *err);
struct rubric *rubric_parse(const char *text, size_t n, const char *name, struct err *err);
void rubric_free(struct rubric *r);

size_t rubric_checks(const struct rubric *r);
const char *rubric_check_name(const struct rubric *r, size_t i);

/* verdicts: (rubric_checks) out.  Returns 0, or -1 if a pattern ran into PCRE2's limits on this
 * text. rubric_overall: FAIL if any check failed, NOT_APPLICABLE if none applied, else PASS. */
int rubric_judge(const struct rubric *r, enum rubric_verdict *verdicts, const char *prompt,
                 const char *answer, struct err *err);
enum rubric_verdict rubric_overall(const struct rubric *r, const enum rubric_verdict *verdicts);

/* Shares over n answers, with Wilson's intervals (NaN where nothing applied).
 * check: (rubric_checks) out, of the answers to which each check applied; all: out, of the answers
 * to which any did, those that passed every one. */
struct rubric_share {
    size_t applicable, passed;
    struct interval share;
};
int rubric_shares(const struct rubric *r, struct rubric_share *check, struct rubric_share *all,
                  const char *const *prompts, const char *const *answers, size_t n,
                  struct err *err);

#endif
