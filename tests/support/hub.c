#include "support/hub.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/program.h"
#include "util/buf.h"
#include "util/mem.h"

struct hub_faults hub_faults;
struct hub_seen hub_seen;

struct held {
    char *name, *listed, *data, hash[65];
    size_t size, said;
    bool lfs;
};

static struct MHD_Daemon *hub, *cdn;
static char url[64], cdn_url[64], commit[65] = HUB_COMMIT, *key, *certificate;
static struct held files[32];
static size_t n_files;

/* ---- files ---- */

static void hash_with(char out[65], const char *fmt, const char *path, size_t size)
{
    char line[1200];
    snprintf(line, sizeof line, fmt, size, path);
    FILE *f = popen(line, "r");
    if (!f || fscanf(f, "%64[0-9a-f]", out) != 1 || pclose(f))
        fail_msg("'%s' gives no hash", line);
}

void hub_add(const char *name, const char *path, bool lfs)
{
    struct held *h = &files[n_files++];
    *h = (struct held){.name = xstrdup(name), .listed = xstrdup(name), .lfs = lfs};
    h->data = text_read(path, &h->size);
    h->said = h->size;
    hash_with(h->hash, lfs ? ": %zu; sha256sum < '%s'" : "(printf 'blob %zu\\0'; cat '%s') | sha1sum", path, h->size);
}

void hub_clear(void)
{
    for (size_t i = 0; i < n_files; i++) {
        free(files[i].name);
        free(files[i].listed);
        free(files[i].data);
    }
    n_files = 0;
    hub_commit(HUB_COMMIT);
}

static struct held *held(const char *name)
{
    for (size_t i = 0; i < n_files; i++)
        if (!strcmp(files[i].name, name))
            return &files[i];
    return NULL;
}

void hub_say_size(const char *name, size_t size)
{
    held(name)->said = size;
}

void hub_say_name(const char *name, const char *other)
{
    struct held *h = held(name);
    free(h->listed);
    h->listed = xstrdup(other);
}

void hub_commit(const char *to)
{
    snprintf(commit, sizeof commit, "%s", to);
}

/* ---- answers ---- */

static enum MHD_Result send_text(struct MHD_Connection *c, int status, const char *text, const char *const headers[][2])
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    for (size_t i = 0; headers && headers[i][0]; i++)
        if (headers[i][1])
            MHD_add_response_header(r, headers[i][0], headers[i][1]);
    enum MHD_Result ok = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

/* A fault's answer while it lasts. */
static bool fails(int status, int *times)
{
    if (!status || *times == 0)
        return false;
    if (*times > 0)
        (*times)--;
    return true;
}

static enum MHD_Result refuse(struct MHD_Connection *c, int status, const char *code)
{
    const char *const headers[][2] = {{"X-Error-Code", hub_faults.error_code ? hub_faults.error_code : code},
                                      {"X-Error-Message", hub_faults.error_message},
                                      {"Retry-After", hub_faults.retry_after},
                                      {"RateLimit", hub_faults.rate_limit},
                                      {NULL, NULL}};
    return send_text(c, status, "no", headers);
}

static enum MHD_Result send_list(struct MHD_Connection *c)
{
    struct buf b;
    buf_init(&b, 1 << 26);
    if (hub_faults.api_body) {
        buf_str(&b, hub_faults.api_body);
    } else if (hub_faults.api_length) {
        for (size_t i = 0; i < hub_faults.api_length / 1024; i++)
            buf_printf(&b, "%1024s", "");
    } else {
        buf_printf(&b, "{\"id\": \"owner/name\", \"sha\": \"%s\", \"private\": false, \"siblings\": [", commit);
        for (size_t i = 0; i < n_files; i++) {
            const struct held *h = &files[i];
            buf_str(&b, i ? ", {\"rfilename\": " : "{\"rfilename\": ");
            buf_json_str(&b, h->listed, strlen(h->listed));
            buf_printf(&b, ", \"size\": %zu, \"blobId\": \"%.40s\"", h->said, h->hash);
            if (h->lfs)
                buf_printf(&b, ", \"lfs\": {\"sha256\": \"%s\", \"size\": %zu, \"pointerSize\": 134}", h->hash, h->said);
            buf_str(&b, "}");
        }
        buf_str(&b, "]}");
    }
    enum MHD_Result ok = send_text(c, 200, b.data, NULL);
    buf_release(&b);
    return ok;
}

/* The body of one answer, with bytes of its own: whoever asked may be gone, and the files too, while it is still being sent. */
struct body {
    char *data;
    size_t size, from, cut;
    bool damaged;
};

static void body_free(void *user)
{
    struct body *b = user;
    free(b->data);
    free(b);
}

static ssize_t give(void *user, uint64_t at, char *to, size_t room)
{
    struct body *b = user;
    size_t left = b->size - b->from - (size_t)at, n = room < left ? room : left;
    if (b->cut && at >= b->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (b->cut && n > b->cut - at)
        n = b->cut - at;
    if (hub_faults.drip) {
        usleep((useconds_t)hub_faults.drip);
        n = n < 1024 ? n : 1024;
    }
    memcpy(to, b->data + b->from + at, n);
    if (b->damaged && b->from + at <= b->size / 2 && b->from + at + n > b->size / 2)
        to[b->size / 2 - b->from - at] ^= 1;
    hub_seen.bytes += n;
    return (ssize_t)n;
}

static enum MHD_Result send_file(struct MHD_Connection *c, const struct held *h)
{
    const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
    const char *if_range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-Range");
    struct body *b = xcalloc(1, sizeof *b);
    char etag[80], part[100];
    snprintf(etag, sizeof etag, h->lfs ? "\"cdn-%.20s\"" : "\"%s\"", h->hash); /* the hub's own is git's name of the content */
    b->data = xmalloc(h->size + 1);
    memcpy(b->data, h->data, h->size);
    b->size = h->size;
    b->damaged = hub_faults.damaged;
    if (range && h->lfs) {
        hub_seen.ranges++;
        hub_seen.if_ranges += if_range && !strcmp(if_range, etag);
    }
    if (range && !hub_faults.no_ranges && (!if_range || !strcmp(if_range, etag)))
        b->from = strtoull(range + strlen("bytes="), NULL, 10);
    bool partial = b->from > 0;
    if (partial && hub_faults.wrong_range)
        b->from--;
    if (b->from >= h->size && partial) {
        body_free(b);
        return send_text(c, 416, "", NULL);
    }
    if (h->lfs && hub_faults.cuts > 0) {
        hub_faults.cuts--;
        b->cut = hub_faults.cut_after;
    }
    struct MHD_Response *r = MHD_create_response_from_callback(h->size - b->from, 65536, give, b, body_free);
    snprintf(part, sizeof part, "bytes %zu-%zu/%zu", b->from, h->size - 1, h->size);
    MHD_add_response_header(r, "ETag", etag);
    if (partial)
        MHD_add_response_header(r, "Content-Range", part);
    enum MHD_Result ok = MHD_queue_response(c, partial ? 206 : 200, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result redirect(struct MHD_Connection *c, const struct held *h, const char *path)
{
    char to[400], etag[80], size[24];
    if (hub_faults.loop)
        snprintf(to, sizeof to, "%s", path);
    else
        snprintf(to, sizeof to, "%s/%s?signature=secret", cdn_url, h->name);
    snprintf(etag, sizeof etag, "\"%s\"", hub_faults.other_hash ? "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" : h->hash);
    snprintf(size, sizeof size, "%zu", h->size);
    const char *const headers[][2] = {{"Location", hub_faults.location ? hub_faults.location : to},
                                      {"X-Linked-ETag", etag},
                                      {"X-Linked-Size", size},
                                      {"X-Repo-Commit", commit},
                                      {NULL, NULL}};
    return send_text(c, 302, "over there", headers);
}

static enum MHD_Result answer(void *who, struct MHD_Connection *c, const char *path, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **state)
{
    (void)version, (void)upload, (void)upload_size;
    static const char api[] = "/api/models/";
    const char *authorization = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
    const char *agent = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "User-Agent");
    if (!*state) { /* the headers; the answer comes with the next call */
        *state = files;
        return MHD_YES;
    }
    snprintf(hub_seen.user_agent, sizeof hub_seen.user_agent, "%s", agent ? agent : "");
    if (strcmp(method, "GET") && strcmp(method, "HEAD"))
        return send_text(c, 405, "no", NULL);
    if (who) { /* the CDN */
        const struct held *h = held(path + 1);
        hub_seen.cdn++;
        hub_seen.cdn_tokens += authorization != NULL;
        return h ? send_file(c, h) : send_text(c, 404, "no", NULL);
    }
    hub_seen.tokens += authorization != NULL;
    snprintf(hub_seen.authorization, sizeof hub_seen.authorization, "%s", authorization ? authorization : "");
    if (hub_faults.token && (!authorization || strcmp(authorization + strlen("Bearer "), hub_faults.token)))
        return refuse(c, 401, authorization ? NULL : "RepoNotFound");
    if (!strncmp(path, api, strlen(api))) {
        hub_seen.api++;
        const char *blobs = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "blobs");
        snprintf(hub_seen.api_url, sizeof hub_seen.api_url, "%s?blobs=%s", path, blobs ? blobs : "");
        if (fails(hub_faults.api_status, &hub_faults.api_times))
            return refuse(c, hub_faults.api_status, NULL);
        if (strncmp(path + strlen(api), "owner/name", strlen("owner/name")))
            return refuse(c, authorization ? 404 : 401, "RepoNotFound");
        const char *revision = strstr(path, "/revision/");
        if (revision && strcmp(revision, "/revision/main") && strcmp(revision + strlen("/revision/"), commit) &&
            strcmp(revision, "/revision/refs/pr/1"))
            return refuse(c, 404, "RevisionNotFound");
        return send_list(c);
    }
    hub_seen.files++;
    char prefix[128];
    snprintf(prefix, sizeof prefix, "/owner/name/resolve/%s/", commit);
    const struct held *h = strncmp(path, prefix, strlen(prefix)) ? NULL : held(path + strlen(prefix));
    if (fails(hub_faults.file_status, &hub_faults.file_times))
        return refuse(c, hub_faults.file_status, NULL);
    if (hub_faults.gated && (!authorization || strcmp(authorization + strlen("Bearer "), hub_faults.gated)))
        return refuse(c, authorization ? 403 : 401, "GatedRepo");
    if (!h)
        return refuse(c, 404, "EntryNotFound");
    return h->lfs || hub_faults.loop || hub_faults.location ? redirect(c, h, path) : send_file(c, h);
}

/* ---- both servers ---- */

static struct MHD_Daemon *serve(unsigned flags, void *who, char *address, size_t room)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *d = key ? MHD_start_daemon(flags | MHD_USE_TLS, 0, NULL, NULL, answer, who, MHD_OPTION_SOCK_ADDR, &at,
                                                  MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_MEM_CERT, certificate, MHD_OPTION_END)
                               : MHD_start_daemon(flags, 0, NULL, NULL, answer, who, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END);
    if (!d)
        fail_msg("no server can be started");
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(address, room, "%s://127.0.0.1:%u", key ? "https" : "http", info->port);
    return d;
}

void hub_start(const char *key_path, const char *certificate_path)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION;
    key = key_path ? text_read(key_path, NULL) : NULL;
    certificate = certificate_path ? text_read(certificate_path, NULL) : NULL;
    hub_reset();
    hub = serve(flags, NULL, url, sizeof url);
    cdn = serve(flags, cdn_url, cdn_url, sizeof cdn_url);
}

void hub_stop(void)
{
    MHD_stop_daemon(hub);
    MHD_stop_daemon(cdn);
    free(key);
    free(certificate);
    hub_clear();
}

void hub_reset(void)
{
    hub_faults = (struct hub_faults){0};
    hub_seen = (struct hub_seen){0};
}

const char *hub_url(void)
{
    return url;
}
