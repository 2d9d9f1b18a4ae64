#define _GNU_SOURCE
#include "hub/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "hub/digest.h"
#include "util/buf.h"
#include "util/mem.h"

#define CONNECT_SECONDS 20L
#define FIRST_PAUSE 0.5
#define LONGEST_PAUSE 30.0
#define MOST_HEADERS ((size_t)256 << 10) /* bytes of one answer's */
#define MOST_REFUSAL ((size_t)1 << 20)   /* of the page that comes with a redirect or a refusal */

struct http {
    struct http_config config;
    CURL *curl;
    char *origin;  /* of the endpoint */
    bool reached;  /* has any server answered yet? */
    bool open;     /* may the token be sent: over TLS, or to this machine */
    char why[CURL_ERROR_SIZE];
};

enum outcome { DONE, AGAIN, FAILED };

/* One attempt's state. */
struct transfer {
    struct http *h;
    struct http_request *r;
    struct http_answer *a;
    struct err *err;
    size_t headers, refusal; /* bytes so far */
    bool started, broken, ranged;
    const char *origin;
};

/* ---- addresses ---- */

static char *address_part(const char *url, CURLUPart part)
{
    CURLU *u = curl_url();
    char *text = NULL, *copy = NULL;
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
        curl_url_get(u, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
        copy = xstrdup(text);
    curl_free(text);
    curl_url_cleanup(u);
    return copy;
}

/* "https://host:443" in lower case, or NULL where it is no address for http. */
static char *origin_of(const char *url)
{
    char *scheme = address_part(url, CURLUPART_SCHEME), *host = address_part(url, CURLUPART_HOST),
         *port = address_part(url, CURLUPART_PORT), *origin = NULL;
    if (scheme && host && port && (!strcasecmp(scheme, "http") || !strcasecmp(scheme, "https")))
        origin = xasprintf("%s://%s:%s", scheme, host, port);
    for (char *s = origin; s && *s; s++)
        *s = (char)tolower((unsigned char)*s);
    free(scheme);
    free(host);
    free(port);
    return origin;
}

static bool is_this_machine(const char *origin)
{
    static const char *const hosts[] = {"http://127.0.0.1:", "http://localhost:", "http://[::1]:"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (!strncmp(origin, hosts[i], strlen(hosts[i])))
            return true;
    return false;
}

char *http_escape(const char *s, bool slashes)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (; *s; s++) {
        if (isalnum((unsigned char)*s) || strchr("-_.~", *s) || (slashes && *s == '/'))
            buf_add(&b, s, 1);
        else
            buf_printf(&b, "%%%02X", (unsigned char)*s);
    }
    return b.data;
}

/* ---- one answer ---- */

/* The value of a header line that has this name, or NULL; *n: its length without the line's end. */
static const char *header(const char *line, size_t length, const char *name, size_t *n)
{
    size_t m = strlen(name);
    if (length <= m || strncasecmp(line, name, m) || line[m] != ':')
        return NULL;
    const char *value = line + m + 1, *end = line + length;
    while (value < end && isspace((unsigned char)*value))
        value++;
    while (end > value && isspace((unsigned char)end[-1]))
        end--;
    *n = (size_t)(end - value);
    return value;
}

/* As much of it as there is room for, without what could confuse a terminal. */
static void keep(char *to, size_t room, const char *value, size_t n)
{
    n = n < room - 1 ? n : room - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = (char)(value[i] >= ' ' && value[i] <= '~' ? value[i] : '?');
    to[n] = 0;
}

/* The hash that an ETag is, without its quotes; "" where it is none. */
static void keep_hash(char out[65], const char *value, size_t n)
{
    if (n > 1 && !strncasecmp(value, "W/", 2)) {
        value += 2;
        n -= 2;
    }
    if (n > 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    keep(out, 65, value, n <= 64 ? n : 0);
    if (!digest_known(out))
        out[0] = 0;
}

/* "bytes FIRST-LAST/ALL"; false where it is something else. */
static bool content_range(struct http_answer *a, const char *value, size_t n)
{
    char text[96];
    unsigned long long first, last, all;
    keep(text, sizeof text, value, n);
    int found = sscanf(text, "bytes %llu-%llu/%llu", &first, &last, &all);
    if (found < 2 || last < first || (found == 3 && last >= all))
        return false;
    a->from = (size_t)first;
    a->size = found == 3 ? (size_t)all : SIZE_MAX;
    return true;
}

static size_t on_header(char *line, size_t one, size_t length, void *user)
{
    (void)one; /* 1 */
    struct transfer *t = user;
    struct http_answer *a = t->a;
    const char *value;
    size_t n;
    char linked[65];
    bool hub = !strcmp(t->origin, t->h->origin); /* only its ETags are hashes of contents */
    if ((t->headers += length) > MOST_HEADERS) {
        err_set(t->err, "the server sends more than %zu bytes of headers", MOST_HEADERS);
        return 0;
    }
    if (length > 5 && !strncmp(line, "HTTP/", 5)) { /* of each answer, "100 Continue" too */
        a->etag[0] = a->error_code[0] = a->error_message[0] = 0;
        a->retry_after = 0;
        a->from = a->size = SIZE_MAX;
    } else if ((value = header(line, length, "X-Error-Code", &n))) {
        keep(a->error_code, sizeof a->error_code, value, n);
    } else if ((value = header(line, length, "X-Error-Message", &n))) {
        keep(a->error_message, sizeof a->error_message, value, n);
    } else if ((value = header(line, length, "ETag", &n))) {
        bool strong = n >= 2 && n < sizeof a->etag && value[0] == '"';
        keep(a->etag, sizeof a->etag, value, strong ? n : 0);
        if (hub && !a->content_hash[0])
            keep_hash(a->content_hash, value, n);
    } else if ((value = header(line, length, "X-Linked-ETag", &n))) {
        keep_hash(linked, value, n);
        if (hub && linked[0])
            memcpy(a->content_hash, linked, sizeof linked);
    } else if ((value = header(line, length, "Content-Range", &n))) {
        content_range(a, value, n);
    } else if ((value = header(line, length, "RateLimit", &n))) { /* "api";r=0;t=55: none left, for 55 seconds */
        char text[96], *reset;
        keep(text, sizeof text, value, n);
        if (strstr(text, ";r=0;") && (reset = strstr(text, ";t=")))
            a->retry_after = fmin(strtod(reset + 3, NULL), 1e9);
    }
    return length;
}

/* The headers are in: tell the request where the body begins.  0, or -1 with the reason in t->err. */
static int begin(struct transfer *t)
{
    struct http_answer *a = t->a;
    struct http_request *r = t->r;
    curl_off_t length = -1;
    t->started = true;
    if (a->status == 200) {
        curl_easy_getinfo(t->h->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        a->from = r->from = 0;
        a->size = length >= 0 ? (size_t)length : SIZE_MAX;
    } else if (!t->ranged || a->from != r->from) { /* a part that nobody asked for: all of it, then */
        r->from = 0;
        t->broken = true;
        return err_set(t->err, "the server sent another part than it was asked for");
    }
    if (r->size != SIZE_MAX && a->size != SIZE_MAX && a->size != r->size)
        return err_set(t->err, "it has %zu bytes there, and %zu in the list of files", a->size, r->size);
    snprintf(r->etag, sizeof r->etag, "%s", a->etag);
    snprintf(r->etag_origin, sizeof r->etag_origin, "%s", t->origin);
    return r->start(r->ctx, a, t->err);
}

static size_t on_body(char *data, size_t one, size_t n, void *user)
{
    (void)one;
    struct transfer *t = user;
    curl_easy_getinfo(t->h->curl, CURLINFO_RESPONSE_CODE, &t->a->status);
    if (t->a->status != 200 && t->a->status != 206)
        return (t->refusal += n) > MOST_REFUSAL ? 0 : n;
    if (!t->started && begin(t))
        return 0;
    if (n > t->r->size - t->r->from) {
        err_set(t->err, "the server sends more than the %zu bytes that the list of files says", t->r->size);
        return 0;
    }
    if (t->r->write(t->r->ctx, data, n, t->err))
        return 0;
    t->r->from += n;
    return n;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct hub_watch *watch = ((struct transfer *)user)->h->config.watch;
    return watch->stopped(watch->ctx);
}

/* ---- one request ---- */

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    char *line = xasprintf("%s: %s", name, value);
    list = curl_slist_append(list, line);
    free(line);
    return list;
}

static struct curl_slist *prepare(struct transfer *t, const char *url)
{
    struct http *h = t->h;
    const char *origin = t->origin;
    CURL *c = h->curl;
    const char *ca = getenv("CURL_CA_BUNDLE");
    if (!ca || !*ca)
        ca = getenv("SSL_CERT_FILE");
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    if (ca && *ca)
        curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "hone/" HONE_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)ceil(h->config.timeout));
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->why);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    /* sizes and hashes are those of the content as it is stored */
    struct curl_slist *headers = add_header(NULL, "Accept-Encoding", "identity");
    if (t->r->from) {
        char *range = xasprintf("%zu-", t->r->from);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
        free(range);
        t->ranged = true;
        if (t->r->etag[0] && !strcmp(origin, t->r->etag_origin))
            headers = add_header(headers, "If-Range", t->r->etag);
    }
    if (http_has_token(h) && !strcmp(origin, h->origin)) {
        char *bearer = xasprintf("Bearer %s", h->config.token);
        headers = add_header(headers, "Authorization", bearer);
        free(bearer);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    return headers;
}

static bool passes_by_itself(long status)
{
    return status == 408 || status == 429 || (status >= 500 && status <= 504 && status != 501);
}

/* What curl says of a transfer that brought no whole answer. */
static enum outcome judge_failure(struct transfer *t, CURLcode code, const char *host)
{
    struct http *h = t->h;
    struct err *err = t->err;
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        err_set(err, "stopped");
        return FAILED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        err_set(err, "cannot find the host '%s': is there a network, and is its name right (HF_ENDPOINT, --endpoint)?", host);
        return h->reached ? AGAIN : FAILED;
    case CURLE_COULDNT_CONNECT:
        err_set(err, "cannot connect to '%s': is there a network, and is a server there (HF_ENDPOINT, --endpoint)?", host);
        return h->reached ? AGAIN : FAILED;
    case CURLE_OPERATION_TIMEDOUT:
        err_set(err, "'%s' sends nothing any more: is the network slow? (--timeout)", host);
        return h->reached ? AGAIN : FAILED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
        err_set(err, "no connection to '%s' that can be trusted (%s): where a proxy opens connections, name the file of its certificate "
                     "in SSL_CERT_FILE", host, h->why[0] ? h->why : curl_easy_strerror(code));
        return FAILED;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        err_set(err, "the connection to '%s' was lost", host);
        return AGAIN;
    default:
        err_set(err, "cannot read from '%s': %s", host, curl_easy_strerror(code));
        return FAILED;
    }
}

static enum outcome judge(struct transfer *t, CURLcode code, const char *host, char **next)
{
    struct http *h = t->h;
    struct http_answer *a = t->a;
    char *redirect = NULL;
    curl_off_t seconds = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &redirect);
    h->reached |= a->status != 0;
    if (t->broken)
        return AGAIN;
    if (a->status == 200 || a->status == 206) {
        if (code == CURLE_OK && !t->started && begin(t))
            return t->broken ? AGAIN : FAILED;
        if (code == CURLE_OK && t->r->size != SIZE_MAX && t->r->from < t->r->size) {
            err_set(t->err, "'%s' ended in the middle of the file", host);
            return AGAIN;
        }
        if (code == CURLE_WRITE_ERROR) /* what the request, or begin(), said */
            return FAILED;
        return code == CURLE_OK ? DONE : judge_failure(t, code, host);
    }
    if (a->status == 0 || code == CURLE_ABORTED_BY_CALLBACK || (code != CURLE_OK && code != CURLE_WRITE_ERROR))
        return judge_failure(t, code, host);
    if (a->status >= 300 && a->status < 400 && redirect) {
        *next = xstrdup(redirect);
        return DONE;
    }
    err_set(t->err, "'%s' answers %ld%s%s", host, a->status, a->error_message[0] ? ": " : "", a->error_message);
    if (a->status == 416 && t->r->from) { /* what is there is longer than the file: it is not of it */
        t->r->from = 0;
        return AGAIN;
    }
    curl_easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > 0)
        a->retry_after = (double)seconds;
    return passes_by_itself(a->status) ? AGAIN : FAILED;
}

/* *next: where to look instead, a fresh string, or NULL. */
static enum outcome ask(struct http *h, struct http_request *r, struct http_answer *a, const char *url, char **next, struct err *err)
{
    char *origin = origin_of(url);
    struct transfer t = {.h = h, .r = r, .a = a, .err = err, .origin = origin};
    *next = NULL;
    a->status = 0;
    if (!origin) {
        err_set(err, "'%s' leads to an address that is none of http or https", strstr(h->origin, "://") + 3);
        return FAILED;
    }
    h->why[0] = 0;
    struct curl_slist *headers = prepare(&t, url);
    CURLcode code = curl_easy_perform(h->curl);
    enum outcome o = judge(&t, code, strstr(origin, "://") + 3, next);
    if (*next) {
        char *to = origin_of(*next);
        if (to && !strncmp(origin, "https:", 6) && strncmp(to, "https:", 6)) {
            err_set(err, "'%s' leads from an encrypted connection to one that is not, which is not followed", strstr(origin, "://") + 3);
            o = FAILED;
        }
        free(to);
    }
    curl_slist_free_all(headers);
    free(origin);
    return o;
}

static enum outcome attempt(struct http *h, struct http_request *r, struct http_answer *a, struct err *err)
{
    char *url = xstrdup(r->url), *next = NULL;
    enum outcome o = DONE;
    *a = (struct http_answer){0};
    for (int hop = 0; o == DONE && hop <= HTTP_HOPS; hop++) {
        o = ask(h, r, a, url, &next, err);
        free(url);
        url = next;
        if (!url)
            break;
    }
    if (url && o == DONE) {
        a->status = 0;
        err_set(err, "'%s' leads from address to address, more than %d times", strstr(h->origin, "://") + 3, HTTP_HOPS);
        o = FAILED;
    }
    free(url);
    return o;
}

/* ---- attempts ---- */

/* false: stopped. */
static bool pause_for(struct http *h, double seconds)
{
    const struct hub_watch *w = h->config.watch;
    for (; seconds > 0; seconds -= 0.1) {
        double some = fmin(seconds, 0.1);
        struct timespec t = {.tv_nsec = (long)(some * 1e9)};
        if (w->stopped(w->ctx))
            return false;
        nanosleep(&t, NULL);
    }
    return !w->stopped(w->ctx);
}

int http_get(struct http *h, struct http_request *r, struct http_answer *a, struct err *err)
{
    double pause = FIRST_PAUSE;
    for (size_t failures = 0;;) {
        size_t before = r->from;
        enum outcome o = attempt(h, r, a, err);
        if (o == DONE)
            return 0;
        if (o == FAILED)
            return -1;
        if (r->from >= before + HTTP_PROGRESS) {
            failures = 0;
            pause = FIRST_PAUSE;
        }
        if (++failures > h->config.retries)
            return h->config.retries ? err_prefix(err, "%zu attempts in vain", failures) : -1;
        double asked = a->status == 429 || a->status == 503 ? a->retry_after : 0;
        if (asked > HTTP_WAIT_MOST)
            return err_prefix(err, "the server asks to wait for %.0f seconds, which is too long to be waited for: try again later", asked);
        double wait = asked > 0 ? asked : pause;
        pause = fmin(2 * pause, LONGEST_PAUSE);
        char *phrase = xasprintf("%s: once more in %.3g s", err->text, wait);
        h->config.watch->say(h->config.watch->ctx, phrase);
        free(phrase);
        if (!pause_for(h, wait))
            return err_set(err, "stopped");
    }
}

struct http *http_open(const struct http_config *config, struct err *err)
{
    char *origin = origin_of(config->endpoint);
    if (!origin) {
        err_set(err, "the hub's address '%s' is none: write it as https://HOST (HF_ENDPOINT, --endpoint)", config->endpoint);
        return NULL;
    }
    struct http *h = xcalloc(1, sizeof *h);
    h->config = *config;
    h->origin = origin;
    h->open = !strncmp(origin, "https:", 6) || is_this_machine(origin);
    h->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
    if (!h->curl) {
        err_set(err, "libcurl cannot start");
        http_close(h);
        return NULL;
    }
    if (config->token && !h->open) {
        char *phrase = xasprintf("the token is not sent to '%s', whose connections are not encrypted", config->endpoint);
        config->watch->say(config->watch->ctx, phrase);
        free(phrase);
    }
    return h;
}

bool http_has_token(const struct http *h)
{
    return h->config.token && h->open;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h->origin);
    free(h);
}
