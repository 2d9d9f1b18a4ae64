/* A model out of a hub, in steps that the caller drives:
 *
 *     pull_open     what there is, what of it hone reads, where it goes
 *     pull_check    which of it is there already, and right; is there room for the rest?
 *     pull_file     one file after the other
 *     pull_finish   into its place
 *
 * A file is fetched into NAME.part, checked against the hub's hash, synced and renamed.  A folder is made as DIR.part and renamed to
 * DIR when all of it is there and right; a GGUF, which is whole in itself, is made in DIR.  So what is half there is never taken for a
 * model, and a pull that is cut off at any moment goes on where it was.  DIR/pull.json says what came from where:
 *
 *     {"config.json": {"model": "OWNER/NAME", "endpoint": "https://..", "commit": .., "hash": .., "size": 861}, ..}
 */
#ifndef HONE_HUB_PULL_H
#define HONE_HUB_PULL_H

#include "hub/listing.h"

struct pull_config {
    const char *model, *revision, *file; /* file NULL: not said */
    const char *dir;
    bool overwrite; /* what is in DIR may be replaced, if it was pulled */
    bool offline;   /* only check what is there */
    struct http_config http;
};

struct pull {
    struct pull_config config;
    struct http *http; /* NULL: offline */
    struct hub_listing list; /* what is to be there */
    bool gguf;
    char *dir, *work; /* without "/" at the end; the folder that files are made in */
    int lock;         /* of `work`, or -1 */
    bool *there;      /* (list.n) it is in `work` and right */
    bool all_there;   /* in DIR: there is nothing to do */
    size_t total, done; /* bytes of all files; of those that are there and right */
};

/* Where there are several GGUFs to choose from, p->list has them when it fails.  Release in all cases. */
int pull_open(struct pull *p, const struct pull_config *config, struct err *err);
int pull_check(struct pull *p, struct err *err);
int pull_file(struct pull *p, size_t i, struct err *err);
int pull_finish(struct pull *p, struct err *err);

/* Take away what was fetched; for models that turn out to be of no use. */
int pull_drop(struct pull *p, struct err *err);

void pull_release(struct pull *p);

/* The path of the model: the folder, or the GGUF in it.  A fresh string. */
char *pull_result(const struct pull *p);

#endif
