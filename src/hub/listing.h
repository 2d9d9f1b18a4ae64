/* What a hub has of a model: the files of one commit, and which of them hone reads.
 *
 *     GET ENDPOINT/api/models/OWNER/NAME/revision/REVISION?blobs=true
 *     {"sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": 861, "blobId": SHA-1},
 *                                  {"rfilename": "model.safetensors", "size": 9, "lfs": {"sha256": ..}}, ..], ..}
 *
 * A listing with a name that would lie outside of the folder, or with one name twice, is refused whole. */
#ifndef HONE_HUB_LISTING_H
#define HONE_HUB_LISTING_H

#include "hub/http.h"

#define LISTING_MOST ((size_t)16 << 20) /* bytes of its JSON */

struct hub_file {
    char *name;    /* "config.json", "Q4/model.gguf" */
    size_t size;   /* SIZE_MAX: not said */
    char hash[65]; /* see hub/digest.h; "": not said */
};

struct hub_listing {
    char commit[65];
    struct hub_file *files; /* in the hub's order */
    size_t n;
};

/* Of JSON that is there; of what the hub answers.  -1 and a sentence, with nothing left to release. */
int listing_parse(struct hub_listing *l, const char *json, size_t n, struct err *err);
int listing_get(struct hub_listing *l, struct http *h, const char *endpoint, const char *model, const char *revision, struct err *err);
void listing_release(struct hub_listing *l);

/* Say what a refusal means for a model: *err holds what http_get said. */
void listing_refused(const struct http_answer *a, const char *endpoint, const char *model, const char *revision, bool token,
                     struct err *err);

/* Is it the name of a GGUF file; of one that is a whole model, or the first part of one; are two the same, or parts of the same? */
bool listing_is_gguf(const char *name);
bool listing_starts_gguf(const char *name);
bool listing_same_gguf(const char *a, const char *b);

/* Leave in the listing only what hone reads, what says most about the model first: the GGUF `file`, all parts of it; file NULL: configuration, tokenizer, chat
 * template and safetensors, or else the only GGUF there is.  Returns 1 for a GGUF, 0 for files that are a model together, -1 and a
 * sentence; the listing is then as it was. */
int listing_choose(struct hub_listing *l, const char *model, const char *file, struct err *err);

#endif
