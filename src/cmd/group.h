/* What grpo and rloo share: an iteration of groups of answers, from sampling to the last step. */
#ifndef HONE_CMD_GROUP_H
#define HONE_CMD_GROUP_H

#include "cmd/online.h"
#include "train/group.h"

/* Run the whole command; returns its exit code.  args: the start of the command's struct; group: what is its own of the
 * options (what both have in common is filled in here).  dynamic_sampling: how often an iteration may draw more prompts in the
 * place of those whose answers all have the same reward; 0: never. */
int group_command(const char *command, const struct online_args *args, const struct options *options,
                  const struct group_options *group, size_t dynamic_sampling);

#endif
