/* What the environment says of a model hub, under the names that the field's tools have for it, and the folder that models are kept in.
 *
 *     HF_ENDPOINT                             the hub's address, else https://huggingface.co
 *     HF_TOKEN, HUGGING_FACE_HUB_TOKEN        the token, else what the file HF_TOKEN_PATH holds ($HF_HOME/token,
 *                                             $XDG_CACHE_HOME/huggingface/token, ~/.cache/huggingface/token), but for
 *                                             HF_HUB_DISABLE_IMPLICIT_TOKEN=1
 *     HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE    1: nothing is fetched
 *     HONE_CACHE                              where models are kept, else $XDG_CACHE_HOME/hone, ~/.cache/hone
 */
#ifndef HONE_HUB_SETTINGS_H
#define HONE_HUB_SETTINGS_H

#include <stdbool.h>

#include "util/err.h"

#define HUB_ENDPOINT "https://huggingface.co"

/* `given`, or where that is NULL what the environment says; a fresh string without "/" at its end. */
char *hub_endpoint(const char *given);

/* *token: a fresh string, or NULL where there is none.  -1 and a sentence where it cannot be a token; the sentence does not hold it. */
int hub_token(char **token, struct err *err);

bool hub_offline(void);

/* Does it look like the name of a model on a hub, OWNER/NAME, perhaps with @REVISION and /FILE.gguf behind it? */
bool hub_is_name(const char *name);

/* The same without anything behind it. */
bool hub_is_model(const char *name);

/* A fresh string: where a model is kept that nobody gave another place; revision NULL: main.  NULL and a sentence where neither
 * HONE_CACHE, XDG_CACHE_HOME nor HOME is set. */
char *hub_place(const char *name, const char *revision, struct err *err);

/* What a user names, as a path: the path itself where it is there, else the place of a pulled model of that name where that is there,
 * else itself again.  A fresh string. */
char *hub_find(const char *name);

#endif
