/* A model hub on this machine, over real sockets: what `hone pull` asks of one, and each way in which that can go wrong.
 *
 * It is two servers in this process: the hub itself and a CDN on another port, to which it sends whoever asks for a large file (LFS),
 * as Hugging Face does.  Files lie in memory; their hashes come from sha256sum and sha1sum. */
#ifndef HONE_TESTS_HUB_H
#define HONE_TESTS_HUB_H

#include <stdbool.h>
#include <stddef.h>

#define HUB_COMMIT "0123456789abcdef0123456789abcdef01234567"

/* The server's faults, for the tests to set; hub_reset() takes them all away. */
struct hub_faults {
    int api_status, file_status; /* of every answer of that kind, while the count lasts; 0: none */
    int api_times, file_times;   /* how many such answers; -1: always */
    const char *retry_after, *rate_limit, *error_code, *error_message; /* headers of such answers */
    int cuts;                    /* so many answers of the CDN break off .. */
    size_t cut_after;            /* .. after so many bytes */
    bool damaged;                /* the CDN changes a byte of each file */
    bool no_ranges;              /* .. and always sends all of it */
    bool wrong_range;            /* .. or another part than was asked for */
    bool other_hash;             /* X-Linked-ETag is not the hash of the list */
    size_t drip;                 /* microseconds between one kilobyte and the next */
    bool loop;                   /* a file's address leads to itself */
    const char *location;        /* .. or here */
    const char *api_body;        /* instead of the list of files */
    size_t api_length;           /* of a list that is that many spaces, instead */
    const char *token;           /* whoever does not send this one gets 401 */
    const char *gated;           /* files are for this token only: 401 without any, 403 with another */
};

/* What was asked since hub_reset(). */
struct hub_seen {
    int api, files, cdn;          /* requests */
    int ranges;                   /* of the CDN's, those for a part */
    int if_ranges;                /* .. of these, those with an If-Range that is the file's ETag */
    size_t bytes;                 /* that the CDN sent */
    int tokens, cdn_tokens;       /* requests with an Authorization */
    char authorization[128], user_agent[64], api_url[300]; /* of the last */
};

extern struct hub_faults hub_faults;
extern struct hub_seen hub_seen;

/* Start both; `key` and `certificate`: files of a key and certificate for the hub to speak TLS with, or NULL. */
void hub_start(const char *key, const char *certificate);
void hub_stop(void);
void hub_reset(void);
const char *hub_url(void); /* "http://127.0.0.1:PORT" */

/* A file of the model owner/name, of a file's bytes; `lfs`: it is a large one.  Forget them all. */
void hub_add(const char *name, const char *path, bool lfs);
void hub_clear(void);

/* Let the list say another size, or another name, than a file has. */
void hub_say_size(const char *name, size_t size);
void hub_say_name(const char *name, const char *other);

/* The commit that the list says, HUB_COMMIT at the start. */
void hub_commit(const char *commit);

#endif
