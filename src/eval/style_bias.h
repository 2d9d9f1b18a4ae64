/* Does a reward model score style (util/style.h) beyond what people's labels say it is worth?  Of held-out pairs, by differences
 * between two answers to one prompt, so that what makes prompts differ does not enter.  With x the lead in logits (score difference over the
 * temperature) and f the differences in style:
 *
 *     score     x ~ w . f                             least squares: what the reward model gives a style
 *     people    P(a is better) = sigmoid(v . f)       logistic: what people give it, by itself
 *     excess    P(a is better) = sigmoid(k x + b . f),  excess = -b / k
 *
 * A reward model may rightly like long answers, where people do.  The last line asks what is left: with the lead at hand, do people
 * still lean with or against a style?  At b = 0 the scores weigh it as people do; where they overdo it, b is negative and the
 * excess positive.  So (score - excess . style) is what best explains the labels, and that is what debiasing keeps.
 *
 * The features are divided by their root mean square, and b has a normal prior of deviation 1 on that scale, worth about a pair: a style
 * that hardly occurs gets 0.  Labels are the raters' shares; a tie is half for each.  No intercept: which answer is called a does
 * not matter. */
#ifndef HONE_EVAL_STYLE_BIAS_H
#define HONE_EVAL_STYLE_BIAS_H

#include "eval/reward_quality.h"

enum { STYLE_RESAMPLES = 400 };

struct style_weights {
    struct interval score, people, excess; /* log-odds a unit of the style; NAN where it does not vary */
};

struct style_bias {
    size_t pairs;
    struct style_weights style[STYLES];
    struct interval explained;          /* share of the variance of x that length alone explains */
    struct interval longer_scored;      /* share of the pairs of unlike length whose longer answer scores higher */
    struct interval longer_preferred;   /* the same by people, of the decided ones */
    struct interval longer_right, shorter_right; /* accuracy where the longer, and where the shorter answer was preferred */
};

/* p has traits.  Intervals are the bootstrap's over prompts (STYLE_RESAMPLES), or Wilson's of shares.  -1 and a sentence where there
 * are no pairs, or none leads. */
int style_bias(struct style_bias *out, const struct scored_pairs *p, double temperature, uint32_t seed, struct err *err);

/* The correction: weight: (STYLES) out, what is to be added to a score for each unit of a style, -excess in the units of the scores; 0 for
 * styles whose bit is not in `which`, which are not in the fit either.  corrected: (n) out, leads with the correction that the other
 * four fifths of the prompts give (cross-fitting).  -1 and a sentence where the leads say nothing of the labels that style does not (k
 * <= 0): such scores cannot be mended. */
int style_correction(double weight[STYLES], double *corrected, const struct scored_pairs *p, unsigned which, uint32_t seed, struct err *err);

#endif
