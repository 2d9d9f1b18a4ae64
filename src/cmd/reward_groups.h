/* hone reward --by-group: groups of annotators who truly disagree.  Their data, how far they agree, and whether a model for each
 * group knows its people better than one for all. */
#ifndef HONE_CMD_REWARD_GROUPS_H
#define HONE_CMD_REWARD_GROUPS_H

#include "cmd/reward_result.h"
#include "cmd/training.h"
#include "eval/group_votes.h"

struct reward_groups {
    struct train_args args;
    struct training t; /* model and data; nothing of it is trained */
    struct group_votes votes;
    struct judgements held_out; /* a group's votes on one pair are one, those of two groups are two */
    size_t n_eval;              /* rows that were read */
    bool opened;
};

/* Read and check the data, and find the groups.  Released in all cases. */
int groups_open(struct reward_groups *g, const struct train_args *args, const struct options *options, struct err *err);
void groups_release(struct reward_groups *g);

/* The models are trained: the pooled one in `dir`/pooled, the groups' in `dir`/members.  about["by_group"] gets what the votes and the
 * held-out pairs say, standard error too where a command's name is given.  h: out, the held-out pairs with the leads of the members'
 * mean. */
int groups_judge(const struct reward_groups *g, const char *dir, json_t *about, struct held_out *h, const char *command, struct err *err);

#endif
