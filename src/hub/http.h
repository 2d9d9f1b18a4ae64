/* GET over libcurl, as a model hub wants it: redirects, attempts, parts of files.
 *
 * Redirects are followed one by one, at most HTTP_HOPS, never from https to http.  The token goes to the endpoint's scheme, host and
 * port and nowhere else, and on a connection without TLS only to this machine.  Certificates are always checked.  What may pass by
 * itself (a lost connection, 408, 429, 500 to 504) is tried again after a pause that doubles, or that the server names, and an attempt
 * goes on where the one before it ended.  Sentences name hosts, never whole addresses: those of a CDN are signed. */
#ifndef HONE_HUB_HTTP_H
#define HONE_HUB_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "hub/watch.h"
#include "util/err.h"

enum {
    HTTP_HOPS = 10,
    HTTP_WAIT_MOST = 300,        /* seconds that a server may ask to wait before the next attempt */
    HTTP_PROGRESS = 1024 * 1024, /* an attempt that brings so many bytes is no failure in the count of `retries` */
};

struct http_config {
    const char *endpoint, *token; /* token NULL: none */
    size_t retries;               /* attempts after the first */
    double timeout;               /* seconds without a byte after which a connection is dead */
    const struct hub_watch *watch;
};

/* What is said of the last answer. */
struct http_answer {
    long status;                                   /* 0: there was none */
    char error_code[64], error_message[200];       /* X-Error-Code, X-Error-Message: printable */
    char etag[128];                                /* "": none, or a weak one */
    char content_hash[65];                         /* X-Linked-ETag, else ETag, of the endpoint's own answers, where it is a hash
                                                      (hub/digest.h); "": none */
    size_t from, size;                             /* of the body's first byte; of the whole content, SIZE_MAX where that is not said */
    double retry_after;                            /* seconds; 0: not said */
};

struct http_request {
    const char *url;
    size_t from; /* bytes that are there already.  Kept by http_get: it counts what `write` took, and goes back to 0 where the server sends
                    all again */
    size_t size; /* that the content must have; SIZE_MAX: not known */
    char etag[128], etag_origin[300]; /* http_get's: what the last bytes came from, for If-Range */
    /* Before the first byte of each attempt, also where there will be none: a->from is where the body begins, 0 or what `from` was. */
    int (*start)(void *ctx, const struct http_answer *a, struct err *err);
    int (*write)(void *ctx, const void *data, size_t n, struct err *err);
    void *ctx;
};

struct http;

/* config's strings and watch stay the caller's and must outlive it.  NULL and a sentence. */
struct http *http_open(const struct http_config *config, struct err *err);
void http_close(struct http *h);

/* Is a token sent to the endpoint? */
bool http_has_token(const struct http *h);

/* 0 when all of the content was written; else -1 and a sentence.  a->status is then the server's refusal (401, 404, ..), or 0 where
 * something else went wrong. */
int http_get(struct http *h, struct http_request *r, struct http_answer *a, struct err *err);

/* A part of an address with all but letters, digits and "-_.~" (and "/", where `slashes`) as %XX.  A fresh string. */
char *http_escape(const char *s, bool slashes);

#endif
