#include "hub/settings.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/file.h"
#include "util/mem.h"

/* The value of a variable that is there and not empty, or NULL. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool is_set(const char *name)
{
    static const char *const yes[] = {"1", "ON", "YES", "TRUE"};
    const char *value = variable(name);
    for (size_t i = 0; value && i < sizeof yes / sizeof *yes; i++)
        if (!strcasecmp(value, yes[i]))
            return true;
    return false;
}

bool hub_offline(void)
{
    return is_set(variable("HF_HUB_OFFLINE") ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE");
}

char *hub_endpoint(const char *given)
{
    const char *value = given ? given : variable("HF_ENDPOINT");
    char *endpoint = xstrdup(value ? value : HUB_ENDPOINT);
    for (size_t n = strlen(endpoint); n && endpoint[n - 1] == '/';)
        endpoint[--n] = 0;
    return endpoint;
}

/* NAME below the folder for what can be fetched again, or NULL. */
static char *in_cache(const char *name)
{
    const char *cache = variable("XDG_CACHE_HOME"), *home = variable("HOME");
    return cache ? path_join(cache, name) : home ? xasprintf("%s/.cache/%s", home, name) : NULL;
}

static char *token_path(void)
{
    const char *path = variable("HF_TOKEN_PATH"), *home = variable("HF_HOME");
    return path ? xstrdup(path) : home ? path_join(home, "token") : in_cache("huggingface/token");
}

/* Without the spaces and line ends around it; it goes into a header, so that nothing else may be in it. */
static int clean(char **token, const char *text, const char *from, struct err *err)
{
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return err_set(err, "what %s holds is no token: it has a character at place %zu that no token has", from, i + 1);
    *token = n ? xstrndup(text, n) : NULL;
    return 0;
}

int hub_token(char **token, struct err *err)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    *token = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (variable(names[i]) && (clean(token, variable(names[i]), names[i], err) || *token))
            return *token ? 0 : -1;
    char *path = is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? NULL : token_path();
    int rc = 0;
    if (path && file_exists(path)) {
        char *from = xasprintf("'%s'", path);
        struct buf b;
        buf_init(&b, 1 << 16);
        rc = file_read(path, &b, err) ? -1 : clean(token, b.data, from, err);
        sodium_memzero(b.data, b.len);
        buf_release(&b);
        free(from);
    }
    free(path);
    return rc;
}

/* The length of a name of letters, digits, "-", "_" and ".", as a hub takes them: not at the ends but letters, digits and "_", no ".."
 * and no "--"; 0: it is none. */
static size_t part(const char *s)
{
    static const char inner[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    size_t n = strspn(s, inner);
    if (n == 0 || n > 96 || strchr("-.", s[0]) || strchr("-.", s[n - 1]))
        return 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (s[i] == s[i + 1] && (s[i] == '.' || s[i] == '-'))
            return 0;
    return n;
}

/* The length of OWNER/NAME at the start of a text, or 0. */
static size_t model_part(const char *s)
{
    size_t owner = part(s), name = owner && s[owner] == '/' ? part(s + owner + 1) : 0;
    return name ? owner + 1 + name : 0;
}

bool hub_is_model(const char *name)
{
    size_t n = model_part(name);
    return n && name[n] == 0;
}

bool hub_is_name(const char *name)
{
    size_t n = model_part(name), all = strlen(name);
    if (n == 0 || strstr(name, "/../") || strchr("@/", name[n]) == NULL)
        return n && name[n] == 0;
    if (name[n] == '@')
        n += strcspn(name + n, "/");
    return name[n] == 0 || (all - n > 6 && !strcmp(name + all - 5, ".gguf"));
}

char *hub_place(const char *name, const char *revision, struct err *err)
{
    const char *own = variable("HONE_CACHE");
    char *cache = own ? xstrdup(own) : in_cache("hone");
    if (!cache) {
        err_set(err, "neither HONE_CACHE, XDG_CACHE_HOME nor HOME is set: say with --output-dir where the model is to go");
        return NULL;
    }
    char *folder = revision && strcmp(revision, "main") ? xasprintf("%s@%s", name, revision) : xstrdup(name);
    for (char *s = folder + strlen(name); *s; s++) /* of a revision like refs/pr/1 */
        if (*s == '/' && revision)
            *s = '-';
    char *place = path_join(cache, folder);
    free(folder);
    free(cache);
    return place;
}

char *hub_find(const char *name)
{
    struct err none;
    char *place = file_exists(name) || !hub_is_name(name) ? NULL : hub_place(name, NULL, &none);
    if (place && !file_exists(place)) {
        free(place);
        place = NULL;
    }
    return place ? place : xstrdup(name);
}
