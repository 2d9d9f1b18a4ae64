/* Which of k answers to a prompt are learned from, by their scores.
 *
 *     all         every answer
 *     best        the one with the highest score: best of n; as demonstrations, RAFT (Dong et al. 2023, "RAFT: reward ranked
 *                 finetuning for generative foundation model alignment")
 *     above       those whose score is at least `threshold`: ReST (Gulcehre et al. 2023, "Reinforced self-training (ReST) for
 *                 language modeling", whose rounds raise it), ReST-EM and STaR with a reward of 0 or 1
 *     pair        the best and the worst, as a preference
 *     rso         answers as the best policy would give them: statistical rejection sampling (Liu et al. 2024, "Statistical
 *                 rejection sampling improves preference optimization", algorithm 1), then pairs of these
 *
 * For rso an answer is accepted with the chance e^((score - highest) / beta), highest among those not accepted yet; small beta
 * takes the best ones, large beta any.  Of equal scores the earlier answer comes first. */
#ifndef HONE_REWARD_SELECT_H
#define HONE_REWARD_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum select_how { SELECT_ALL, SELECT_BEST, SELECT_ABOVE, SELECT_PAIR, SELECT_RSO };
extern const char *const select_names[]; /* as above, then NULL */

struct select_config {
    enum select_how how;
    double threshold; /* of above */
    double beta;      /* of rso, > 0 */
    size_t keep;      /* of rso: accepted answers at most */
    uint32_t seed;
};

/* Do the chosen ones come as pairs, (0, 1), (2, 3) ..? */
bool select_makes_pairs(enum select_how how);

/* chosen: out, room for k: the numbers of the answers.  key: of the prompt, for random numbers.  Returns how many, an even
 * number where they are pairs, the better one first; pairs of equal scores are left out. */
size_t select_answers(size_t *chosen, const double *scores, size_t k, const struct select_config *c, uint32_t key);

#endif
