/* Who looks on while files are fetched and checked, which takes long: the caller's way to show how far it is, and to stop it. */
#ifndef HONE_HUB_WATCH_H
#define HONE_HUB_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct hub_watch {
    bool (*stopped)(void *ctx);                 /* asked several times a second: true ends the work with an error, cleanly */
    void (*at)(void *ctx, size_t done);         /* bytes of all files that are there and right; a new attempt may set it back */
    void (*say)(void *ctx, const char *phrase); /* what is waited for */
    void *ctx;
};

#endif
