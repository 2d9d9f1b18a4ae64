/* The clipped surrogate of one importance ratio, which PPO, GRPO and RLOO share (Schulman et al.
 * 2017, eq. 7):
 *
 *     loss = max(-A ratio, -A clip(ratio, low, high))
 *
 * cap (INFINITY: none) bounds the ratio of the first branch as well, which without it grows without
 * end where A < 0 (dual clip: Ye et al. 2020, "Mastering complex control in MOBA games", eq. 5).
 *
 * The cap is at least high.  gradient: d loss / d log ratio, 0 where the clipped branch is strictly
 * the larger, or the cap holds.  clipped: the clipped branch is strictly the larger. */
#ifndef HONE_OBJECTIVE_CLIP_H
#define HONE_OBJECTIVE_CLIP_H

#include <stdbool.h>

#include "objective/scalar.h"

struct clipped {
    double loss, gradient;
    bool clipped;
};

static inline struct clipped clipped_loss(double ratio, double advantage, double low, double high,
                                          double cap)
{
    double plain = -advantage * (ratio < cap ? ratio : cap);
    double clipped = -advantage * clamp(ratio, low, high);
    if (clipped > plain)
        return (struct clipped){clipped, 0, true};
    return (struct clipped){plain, ratio <= cap ? plain : 0, false}; /* d ratio / d log ratio = ratio */
}

#endif
