/* A language model as a judge of pairs: which of two answers to a prompt is the better one?  (RLAIF: Lee et al. 2023, "RLAIF
 * vs. RLHF: scaling reinforcement learning from human feedback with AI feedback", arXiv:2309.00267, section 3.1.)
 *
 * The judge reads a conversation of our own wording, rendered by its own chat template: what counts (the criterion), the
 * prompt, the two answers under two labels, and the question for a label.  At the position where its reply begins
 *
 *     P(first is better) = e^logp(label 1) / (e^logp(label 1) + e^logp(label 2))
 *
 * Nothing is sampled and no text is parsed.  Models favour a place (the first one, say), so both orders are read, and
 *
 *     p_a = (P(first | a, b) + 1 - P(first | b, a)) / 2
 *
 * How often the two orders name different answers is reported with it.  What all questions begin with is computed once (law 3),
 * and so is a pair's prompt for its two orders.
 *
 * Texts are quoted, not trusted: "<|" is written as "< |", and a space stands within every special token of the judge's tokenizer,
 * so no answer can end its own quotation as the template would; long ones are cut with a mark.  Where a question does not fit the
 * judge's positions, its texts are cut further, both answers to the same length. */
#ifndef HONE_REWARD_JUDGE_H
#define HONE_REWARD_JUDGE_H

#include "data/rows.h"
#include "model/net.h"

/* The criterion where nobody gives one. */
extern const char judge_default_criterion[];

/* Bytes of an answer that are shown, before it is cut; of the prompt, whose end is kept, twice as many. */
#define JUDGE_MAX_BYTES 4096

struct judge {
    const struct net *net; /* the caller's, with a tokenizer and a template */
    const char *criterion; /* what makes an answer the better one, in words: the caller's */
    size_t micro_tokens;   /* of a pass: memory, not results, depend on it */
    const char *labels[2]; /* "1" and "2" or "A" and "B": what the tokenizer has as single tokens */
    int32_t label_ids[2];
};

/* criterion NULL: the default.  -1 and a sentence if the net cannot judge: no tokenizer, no template, no labels, too few
 * positions. */
int judge_init(struct judge *j, const struct net *net, const char *criterion, size_t micro_tokens, struct err *err);

/* Two answers to one prompt, which is messages or a text. */
struct judge_question {
    const struct row_part *prompt;
    const char *a, *b;
};

/* The ids of a question as the judge reads it, a shown first and b shown first, added to orders[0] and [1].  Texts are cut
 * until both fit its positions. */
int judge_ask(struct ids orders[2], const struct judge *j, const struct judge_question *q, struct err *err);

/* Can the rows' prompts be shown?  (Not where they are token ids.) */
int judge_check_rows(const struct dataset *rows, struct err *err);

/* Sums over questions: zero at first, each call adds its own. */
struct judge_stats {
    size_t n;
    size_t disagree; /* the two orders named different answers */
    double first;    /* chance of the answer shown first, over both orders: n/2 where no place is favoured */
    double mass;     /* probability of the two labels together: n where the judge always replies with one of them */
};

/* p_a (n): out, the chance that a is the better answer.  stats may be NULL.  -1 and a sentence that names the question. */
int judge_pairs(double *p_a, struct judge_stats *stats, const struct judge *j, const struct judge_question *questions, size_t n,
                struct err *err);

/* The same from the scores of a reward model, sigmoid((a - b) / temperature); temperature 0: 1 where a is higher, 0 where it is
 * lower, 0.5 where they are equal. */
double judge_by_scores(double a, double b, double temperature);

#endif
