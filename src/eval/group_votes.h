/* Groups of people and what they voted on the same pairs: how far they agree, within a group and between groups, and where they do
 * not.
 *
 * A pair is a prompt and two answers, whichever of them a row calls a.  Who voted for the same pair in two data sets voted for one. */
#ifndef HONE_EVAL_GROUP_VOTES_H
#define HONE_EVAL_GROUP_VOTES_H

#include "data/rows.h"
#include "util/stats.h"

enum { VOTE_GROUPS = 16, VOTE_CONFLICTS = 10 };

struct voted_pair {
    const char *id;               /* of the first row that has it; the data set's */
    uint32_t unit;                /* its prompt */
    double votes[VOTE_GROUPS][3]; /* a, b, tie */
};

struct group_votes {
    char *name[VOTE_GROUPS]; /* in the order in which they first appear */
    size_t rows[VOTE_GROUPS], n_groups;
    struct voted_pair *list;
    size_t n, capacity;
};

/* Count the rows of pairs in n data sets; those without a group are left out.  -1 and a sentence where there are fewer than two
 * groups, or more than VOTE_GROUPS. */
int group_votes_read(struct group_votes *v, const struct dataset *const *data, size_t n, struct err *err);
void group_votes_release(struct group_votes *v);

struct group_conflict {
    size_t pair;                /* in the list */
    double share[VOTE_GROUPS];  /* for a, ties half; NAN: the group did not vote on it */
    double distance;            /* between the two groups that are furthest apart: (for a + 1) / (votes + 2), so that one vote is not all */
};

struct group_agreement {
    struct interval alpha, within[VOTE_GROUPS]; /* Krippendorff's, over all votes and over those of a group; NAN: no pair has two */
    size_t shared;                              /* pairs on which two groups or more have a majority */
    struct interval between;                    /* share of them whose majorities differ */
    struct group_conflict conflict[VOTE_CONFLICTS]; /* those, the furthest apart first */
    size_t n_conflicts;
};
void group_agreement(struct group_agreement *out, const struct group_votes *v, uint32_t seed);

#endif
