/* A second policy beside a model that is loaded: where both have one base, it is in memory once (law 4). */
#ifndef HONE_CMD_POLICY_H
#define HONE_CMD_POLICY_H

#include "cmd/load.h"

struct policy {
    char *path;
    struct model *own; /* NULL: the base's */
    struct adapter adapter;
    struct net net; /* points into this struct, which therefore stays where it is */
};

/* path: as for --model.  A policy with another vocabulary than the base's is refused.  On failure there is nothing to
 * release. */
int policy_open(struct policy *p, const char *path, const struct loaded *base, struct err *err);

/* The same with any vocabulary, for a model that reads text (a judge), and perhaps (else NULL) with another one's adapter. */
int policy_open_any(struct policy *p, const char *path, const char *adapter, const struct loaded *base, struct err *err);
void policy_release(struct policy *p);

#endif
