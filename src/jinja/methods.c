/* Attributes and items, the methods of strings, lists and dicts, and the functions. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "jinja/builtins.h"
#include "jinja/text.h"

enum what {
    UNSUPPORTED,
    /* of str */
    CAPITALIZE,
    COUNT,
    ENDSWITH,
    FIND,
    INDEX,
    ISDIGIT,
    ISLOWER,
    ISSPACE,
    ISUPPER,
    JOIN,
    LOWER,
    LSTRIP,
    REMOVEPREFIX,
    REMOVESUFFIX,
    REPLACE,
    RFIND,
    RSPLIT,
    RSTRIP,
    SPLIT,
    SPLITLINES,
    STARTSWITH,
    STRIP,
    TITLE,
    UPPER,
    /* of dict */
    DICT_COPY,
    DICT_GET,
    DICT_ITEMS,
    DICT_KEYS,
    DICT_VALUES,
    /* of list */
    LIST_COPY,
    LIST_COUNT,
    LIST_INDEX,
    /* functions */
    MAKE_DICT,
    MAKE_NAMESPACE,
    MAKE_RANGE,
    RAISE_EXCEPTION,
    STRFTIME_NOW,
};

struct method {
    const char *name;
    enum what what;
};

static const struct method str_methods[] = {
    {"capitalize", CAPITALIZE},
    {"count", COUNT},
    {"endswith", ENDSWITH},
    {"find", FIND},
    {"index", INDEX},
    {"isdigit", ISDIGIT},
    {"islower", ISLOWER},
    {"isspace", ISSPACE},
    {"isupper", ISUPPER},
    {"join", JOIN},
    {"lower", LOWER},
    {"lstrip", LSTRIP},
    {"removeprefix", REMOVEPREFIX},
    {"removesuffix", REMOVESUFFIX},
    {"replace", REPLACE},
    {"rfind", RFIND},
    {"rsplit", RSPLIT},
    {"rstrip", RSTRIP},
    {"split", SPLIT},
    {"splitlines", SPLITLINES},
    {"startswith", STARTSWITH},
    {"strip", STRIP},
    {"title", TITLE},
    {"upper", UPPER},
    {"casefold", UNSUPPORTED},
    {"center", UNSUPPORTED},
    {"encode", UNSUPPORTED},
    {"expandtabs", UNSUPPORTED},
    {"format", UNSUPPORTED},
    {"format_map", UNSUPPORTED},
    {"isalnum", UNSUPPORTED},
    {"isalpha", UNSUPPORTED},
    {"isascii", UNSUPPORTED},
    {"isdecimal", UNSUPPORTED},
    {"isidentifier", UNSUPPORTED},
    {"isnumeric", UNSUPPORTED},
    {"isprintable", UNSUPPORTED},
    {"istitle", UNSUPPORTED},
    {"ljust", UNSUPPORTED},
    {"maketrans", UNSUPPORTED},
    {"partition", UNSUPPORTED},
    {"rindex", UNSUPPORTED},
    {"rjust", UNSUPPORTED},
    {"rpartition", UNSUPPORTED},
    {"swapcase", UNSUPPORTED},
    {"translate", UNSUPPORTED},
    {"zfill", UNSUPPORTED},
};
static const struct method dict_methods[] = {
    {"copy", DICT_COPY}, {"get", DICT_GET},       {"items", DICT_ITEMS},
    {"keys", DICT_KEYS}, {"values", DICT_VALUES}, {"fromkeys", UNSUPPORTED},
};
static const struct method list_methods[] = {{"copy", LIST_COPY}, {"count", LIST_COUNT}, {"index", LIST_INDEX}};

/* What would change a list or a dict, which the sandbox does not let happen. */
static const char *const mutations[] = {"append", "clear",   "extend",     "insert", "pop",   "popitem",
                                        "remove", "reverse", "setdefault", "sort",   "update"};

static const struct method functions[] = {
    {"dict", MAKE_DICT},
    {"namespace", MAKE_NAMESPACE},
    {"range", MAKE_RANGE},
    {"raise_exception", RAISE_EXCEPTION},
    {"strftime_now", STRFTIME_NOW},
};

#define N(array) (sizeof(array) / sizeof *(array))

static bool find(struct arena *a, struct value *out, const struct method *table, size_t n, struct value self, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, table[i].name)) {
            struct function *f = arena_alloc(a, sizeof *f);
            *f = (struct function){.what = table[i].what, .self = self, .name = name};
            *out = (struct value){.kind = VALUE_FUNCTION, .function = f};
            return true;
        }
    return false;
}

bool method_find(struct arena *a, struct value *out, struct value self, struct str name)
{
    if (self.kind == VALUE_STRING)
        return find(a, out, str_methods, N(str_methods), self, name);
    if (self.kind != VALUE_DICT && !(self.kind == VALUE_LIST && self.list->form <= LIST_TUPLE))
        return false;
    if (self.kind == VALUE_DICT ? find(a, out, dict_methods, N(dict_methods), self, name)
                                : find(a, out, list_methods, N(list_methods), self, name))
        return true;
    for (size_t i = 0; i < N(mutations); i++)
        if (str_is(name, mutations[i])) {
            struct text why = {.arena = a};
            text_c(&why, value_type(self));
            text_c(&why, ".");
            text_str(&why, name);
            text_c(&why, " (the sandbox lets nothing be changed)");
            *out = value_undefined(text_done(&why));
            return true;
        }
    return false;
}

bool function_find(struct arena *a, struct value *out, struct str name)
{
    return find(a, out, functions, N(functions), value_none(), name);
}

/* ---- attributes and items ---- */

_Noreturn static void fail_undefined(struct arena *a, struct value v, struct str name)
{
    arena_fail(a, "'%.*s' is undefined, and has no '%.*s'", STR_ARG(v.str), STR_ARG(name));
}

/* Attributes that Python has and that are not known here. */
static void refuse_attr(struct arena *a, struct value v, struct str name)
{
    static const char *const of_numbers[] = {"real",       "imag",      "numerator",       "denominator",
                                             "bit_length", "bit_count", "conjugate",       "is_integer",
                                             "hex",        "to_bytes",  "as_integer_ratio"};
    bool known = v.kind == VALUE_MACRO || v.kind == VALUE_FUNCTION || (v.kind == VALUE_LIST && v.list->form > LIST_TUPLE);
    for (size_t i = 0; value_is_number(v) && i < N(of_numbers); i++)
        known = known || str_is(name, of_numbers[i]);
    if (known)
        arena_fail(a, "the attribute '%.*s' of a %s is not supported", STR_ARG(name), value_type(v));
}

/* The attribute in Python's sense. */
static bool own_attr(struct arena *a, struct value *out, struct value v, struct str name)
{
    if (v.kind == VALUE_NAMESPACE) {
        ptrdiff_t at = dict_find(a, v.dict, value_str(name));
        if (at >= 0)
            *out = v.dict->values[at];
        return at >= 0;
    }
    return method_find(a, out, v, name);
}

struct value value_attr(struct arena *a, struct value v, struct str name)
{
    struct value out;
    if (v.kind == VALUE_UNDEFINED)
        fail_undefined(a, v, name);
    must_be_plain(a, v, "an attribute");
    if (own_attr(a, &out, v, name))
        return out;
    refuse_attr(a, v, name);
    ptrdiff_t at = v.kind == VALUE_DICT ? dict_find(a, v.dict, value_str(name)) : -1;
    return at >= 0 ? v.dict->values[at] : value_undefined(name);
}

struct value value_item(struct arena *a, struct value v, struct value key)
{
    bool is_index = key.kind == VALUE_INT || key.kind == VALUE_BOOL;
    int64_t index = key.kind == VALUE_INT ? key.whole : is_index && key.truth;
    struct value out;
    if (v.kind == VALUE_UNDEFINED)
        fail_undefined(a, v, value_to_str(a, key));
    must_be_plain(a, v, "an index");
    if (v.kind == VALUE_STRING && is_index) {
        int64_t n = (int64_t)text_length(a, v.str);
        index += index < 0 ? n : 0;
        if (index >= 0 && index < n)
            return value_str(text_slice(a, v.str, index, index + 1, 1));
    } else if (v.kind == VALUE_LIST && v.list->form <= LIST_RANGE && is_index) {
        index += index < 0 ? (int64_t)v.list->n : 0;
        if (index >= 0 && index < (int64_t)v.list->n)
            return v.list->items[index];
    } else if (v.kind == VALUE_DICT && value_is_key(key)) {
        ptrdiff_t at = dict_find(a, v.dict, key);
        if (at >= 0)
            return v.dict->values[at];
    }
    if (key.kind != VALUE_STRING)
        return value_undefined(str_of("an item"));
    if (own_attr(a, &out, v, key.str))
        return out;
    refuse_attr(a, v, key.str);
    return value_undefined(key.str);
}

size_t value_length(struct arena *a, struct value v)
{
    if (v.kind == VALUE_STRING)
        return text_length(a, v.str);
    if (v.kind == VALUE_LIST && v.list->form != LIST_GENERATOR)
        return v.list->n;
    if (v.kind == VALUE_DICT)
        return v.dict->n;
    if (v.kind != VALUE_UNDEFINED)
        arena_fail(a, "a %s has no length", value_type(v));
    return 0;
}

bool value_contains(struct arena *a, struct value y, struct value x)
{
    if (y.kind == VALUE_STRING) {
        if (x.kind != VALUE_STRING)
            arena_fail(a, "only a string can be in a string, found a %s", value_type(x));
        return text_find(a, y.str, x.str, 0) != SIZE_MAX;
    }
    if (y.kind == VALUE_DICT)
        return dict_find(a, y.dict, x) >= 0;
    size_t n;
    const struct value *items = value_items(a, y, &n);
    for (size_t i = 0; i < n; i++)
        if (value_equal(a, items[i], x))
            return true;
    return false;
}

/* ---- methods ---- */

static const struct str *need_str(struct arena *a, const struct value *v, const char *what)
{
    if (!v || v->kind != VALUE_STRING)
        arena_fail(a, "%s needs a string, found %s%s", what, v ? "a " : "nothing", v ? value_type(*v) : "");
    return &v->str;
}

static struct value stripped(struct arena *a, struct str s, const struct args *args, enum what what)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "strip", "chars", p);
    const struct str *chars = p[0] && p[0]->kind != VALUE_NONE ? need_str(a, p[0], "strip") : NULL;
    return value_str(text_strip(s, chars, what != RSTRIP, what != LSTRIP));
}

/* Does s begin (end) with the string, or with one of the tuple's? */
static struct value affixed(struct arena *a, struct str s, const struct args *args, bool at_end)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, at_end ? "endswith" : "startswith", "prefix", p);
    const struct value *list = p[0];
    size_t n = 1;
    if (list && list->kind == VALUE_LIST && list->list->form == LIST_TUPLE)
        list = value_items(a, *list, &n);
    for (size_t i = 0; i < n; i++) {
        struct str word = *need_str(a, list ? &list[i] : NULL, at_end ? "endswith" : "startswith");
        if (at_end ? text_ends(s, word) : text_starts(s, word))
            return value_bool(true);
    }
    return value_bool(false);
}

static void add_str(struct arena *a, struct list *l, struct str s, size_t from, size_t to)
{
    list_add(a, l, value_str((struct str){s.data + from, to - from}));
}

/* At white space, runs of which count as one. */
static void split_words(struct arena *a, struct list *out, struct str s, size_t max)
{
    uint32_t c;
    for (size_t at = 0, len; at < s.n;) {
        len = char_at(s, at, &c);
        if (char_is_space(c)) {
            at += len;
            continue;
        }
        size_t end = at;
        if (out->n == max) {
            add_str(a, out, s, at, s.n);
            return;
        }
        while (end < s.n) {
            len = char_at(s, end, &c);
            if (char_is_space(c))
                break;
            end += len;
        }
        add_str(a, out, s, at, end);
        at = end;
    }
}

static void split_at(struct arena *a, struct list *out, struct str s, struct str by, size_t max)
{
    size_t at = 0;
    while (out->n < max) {
        size_t place = text_find(a, s, by, at);
        if (place == SIZE_MAX)
            break;
        add_str(a, out, s, at, place);
        at = place + by.n;
    }
    add_str(a, out, s, at, s.n);
}

static void reverse(struct list *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        struct value t = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = t;
    }
}

static void rsplit_at(struct arena *a, struct list *out, struct str s, struct str by, size_t max)
{
    while (out->n < max) {
        size_t place = text_rfind(a, s, by);
        if (place == SIZE_MAX)
            break;
        add_str(a, out, s, place + by.n, s.n);
        s.n = place;
    }
    list_add(a, out, value_str(s));
    reverse(out);
}

static void rsplit_words(struct arena *a, struct list *out, struct str s, size_t max)
{
    uint32_t c;
    while ((s = text_strip(s, NULL, false, true)).n) {
        size_t from = s.n;
        if (out->n == max) {
            list_add(a, out, value_str(s));
            break;
        }
        while (from > 0) {
            size_t len = char_before(s, from, &c);
            if (char_is_space(c))
                break;
            from -= len;
        }
        add_str(a, out, s, from, s.n);
        s.n = from;
    }
    reverse(out);
}

static struct value split(struct arena *a, struct str s, const struct args *args, bool from_right)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, from_right ? "rsplit" : "split", "sep maxsplit", p);
    int64_t most = p[1] ? value_index(a, *p[1], "split's count") : -1;
    size_t max = most < 0 ? SIZE_MAX : (size_t)most;
    struct value out = value_list(a, LIST);
    if (!p[0] || p[0]->kind == VALUE_NONE) {
        (from_right ? rsplit_words : split_words)(a, out.list, s, max);
        return out;
    }
    const struct str *by = need_str(a, p[0], "split");
    if (by->n == 0)
        arena_fail(a, "split needs a separator that is not empty");
    (from_right ? rsplit_at : split_at)(a, out.list, s, *by, max);
    return out;
}

static struct value lines(struct arena *a, struct str s, const struct args *args)
{
    struct value out = value_list(a, LIST);
    args_bind(a, args, "splitlines", "", NULL);
    for (size_t at = 0, next; at < s.n; at = next) {
        size_t len = text_line(s, at, &next);
        add_str(a, out.list, s, at, at + len);
    }
    return out;
}

static struct value joined(struct arena *a, struct str s, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "join", "iterable", p);
    if (!p[0])
        arena_fail(a, "join needs a list");
    size_t n;
    const struct value *items = value_items(a, *p[0], &n);
    struct text out = {.arena = a};
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_str(&out, s);
        text_str(&out, *need_str(a, &items[i], "each item of join"));
    }
    return value_str(text_done(&out));
}

static struct value searched(struct arena *a, struct str s, const struct args *args, enum what what)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "the method", "sub", p);
    struct str word = *need_str(a, p[0], "the method");
    size_t at = what == RFIND ? text_rfind(a, s, word) : text_find(a, s, word, 0);
    if (what == COUNT) {
        int64_t n = 0;
        if (word.n == 0)
            return value_int((int64_t)text_length(a, s) + 1);
        for (; at != SIZE_MAX; at = text_find(a, s, word, at + word.n))
            n++;
        return value_int(n);
    }
    if (at == SIZE_MAX && what == INDEX)
        arena_fail(a, "index: '%.*s' is not there", STR_ARG(word));
    return value_int(at == SIZE_MAX ? -1 : (int64_t)text_length(a, (struct str){s.data, at}));
}

static struct value replaced(struct arena *a, struct str s, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "replace", "old new count", p);
    int64_t count = p[2] ? value_index(a, *p[2], "replace's count") : -1;
    return value_str(
        text_replace(a, s, *need_str(a, p[0], "replace"), *need_str(a, p[1], "replace"), count < 0 ? SIZE_MAX : (size_t)count));
}

/* All of these hold for a text that is not empty. */
static struct value all_are(struct arena *a, struct str s, const struct args *args, enum what what)
{
    bool all = s.n > 0, any = false;
    args_bind(a, args, "the method", "", NULL);
    for (size_t at = 0; at < s.n;) {
        uint32_t c;
        at += char_at(s, at, &c);
        if (c >= 0x80 && what != ISSPACE)
            arena_fail(a, "isdigit, isupper and islower are only supported for ASCII");
        any = any || (what == ISUPPER ? char_is_upper(c) : char_is_lower(c));
        all = all && (what == ISDIGIT   ? c >= '0' && c <= '9'
                      : what == ISSPACE ? char_is_space(c)
                      : what == ISUPPER ? !char_is_lower(c)
                                        : !char_is_upper(c));
    }
    return value_bool(all && (any || what == ISDIGIT || what == ISSPACE));
}

static struct value in_case(struct arena *a, struct str s, const struct args *args, enum text_case to)
{
    args_bind(a, args, "the method", "", NULL);
    return value_str(text_to_case(a, s, to));
}

static struct value without(struct arena *a, struct str s, const struct args *args, bool at_end)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, at_end ? "removesuffix" : "removeprefix", "affix", p);
    struct str word = *need_str(a, p[0], at_end ? "removesuffix" : "removeprefix");
    if (at_end ? text_ends(s, word) : text_starts(s, word)) {
        s.data += at_end ? 0 : word.n;
        s.n -= word.n;
    }
    return value_str(s);
}

static struct value copied(struct arena *a, struct value v)
{
    struct value out = v.kind == VALUE_LIST ? value_list(a, LIST) : value_dict(a);
    for (size_t i = 0; v.kind == VALUE_LIST && i < v.list->n; i++)
        list_add(a, out.list, v.list->items[i]);
    for (size_t i = 0; v.kind == VALUE_DICT && i < v.dict->n; i++)
        dict_set(a, out.dict, v.dict->keys[i], v.dict->values[i]);
    return out;
}

static struct value view(struct arena *a, const struct dict *d, const struct args *args, enum what what)
{
    struct value out = value_list(a, LIST_VIEW);
    args_bind(a, args, "the method", "", NULL);
    for (size_t i = 0; i < d->n; i++)
        list_add(a, out.list,
                 what == DICT_KEYS     ? d->keys[i]
                 : what == DICT_VALUES ? d->values[i]
                                       : value_pair(a, d->keys[i], d->values[i]));
    return out;
}

static struct value got(struct arena *a, const struct dict *d, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "get", "key default", p);
    if (!p[0])
        arena_fail(a, "get needs a key");
    ptrdiff_t at = dict_find(a, d, *p[0]);
    return at >= 0 ? d->values[at] : p[1] ? *p[1] : value_none();
}

static struct value counted(struct arena *a, const struct list *l, const struct args *args, enum what what)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "the method", "value", p);
    if (!p[0])
        arena_fail(a, "count and index need a value");
    int64_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (value_equal(a, l->items[i], *p[0])) {
            if (what == LIST_INDEX)
                return value_int((int64_t)i);
            n++;
        }
    if (what == LIST_INDEX)
        arena_fail(a, "index: the value is not in the list");
    return value_int(n);
}

/* ---- functions ---- */

static struct value made_dict(struct arena *a, const struct args *args, const char *what)
{
    struct value out = value_dict(a);
    if (args->n > 1)
        arena_fail(a, "%s takes at most one argument without a name", what);
    if (args->n == 1 && args->list[0].kind == VALUE_DICT) {
        out = copied(a, args->list[0]);
    } else if (args->n == 1) {
        size_t n, two;
        const struct value *items = value_items(a, args->list[0], &n);
        for (size_t i = 0; i < n; i++) {
            const struct value *pair = value_items(a, items[i], &two);
            if (two != 2)
                arena_fail(a, "%s needs pairs, found %zu values", what, two);
            dict_set(a, out.dict, pair[0], pair[1]);
        }
    }
    for (size_t i = 0; args->named && i < args->named->n; i++)
        dict_set(a, out.dict, args->named->keys[i], args->named->values[i]);
    return out;
}

static struct value made_namespace(struct arena *a, const struct args *args)
{
    struct value out = made_dict(a, args, "namespace");
    for (size_t i = 0; i < out.dict->n; i++)
        if (out.dict->keys[i].kind == VALUE_STRING && out.dict->keys[i].str.n && out.dict->keys[i].str.data[0] == '_')
            arena_fail(a, "the attribute '%.*s' begins with '_': rename it", STR_ARG(out.dict->keys[i].str));
    out.kind = VALUE_NAMESPACE;
    return out;
}

#define MAX_RANGE 100000

static struct value made_range(struct arena *a, const struct args *args)
{
    if (args->n < 1 || args->n > 3 || args->named)
        arena_fail(a, "range takes one to three integers");
    int64_t part[3] = {0, 0, 1};
    for (size_t i = 0; i < args->n; i++)
        part[args->n == 1 ? 1 : i] = value_index(a, args->list[i], "an argument of range");
    if (part[2] == 0)
        arena_fail(a, "the step of a range is 0");
    struct value out = value_list(a, LIST_RANGE);
    int64_t at = part[0];
    while (part[2] > 0 ? at < part[1] : at > part[1]) {
        if (out.list->n == MAX_RANGE)
            arena_fail(a, "a range with more than %d items", MAX_RANGE);
        list_add(a, out.list, value_int(at));
        if (__builtin_add_overflow(at, part[2], &at))
            break;
    }
    return out;
}

static struct value formatted_time(struct arena *a, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "strftime_now", "format", p);
    struct str s = *need_str(a, p[0], "strftime_now");
    struct text format = {.arena = a};
    for (size_t i = 0; i < s.n; i++) {
        if (!s.data[i])
            arena_fail(a, "strftime_now's format has a 0 byte in it");
        char next = s.data[i] == '%' && i + 1 < s.n ? s.data[i + 1] : 0;
        if (next == 'f' || next == ':')
            arena_fail(a, "strftime_now's format %%%c is not supported", next);
        if (next == 'z' || next == 'Z') { /* the time has no zone */
            i++;
            continue;
        }
        text_add(&format, &s.data[i], 1 + (next != 0));
        i += next != 0;
    }
    text_add(&format, "|", 2); /* an empty result is one, too */
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    char *end = NULL;
    time_t now = epoch ? (time_t)strtoll(epoch, &end, 10) : (time_t)a->now;
    struct tm tm;
    if (epoch && (!*epoch || *end))
        arena_fail(a, "SOURCE_DATE_EPOCH is '%.40s': it must be a number of seconds", epoch);
    if (!(epoch ? gmtime_r(&now, &tm) : localtime_r(&now, &tm)))
        arena_fail(a, "the time cannot be told");
    char out[1024];
    size_t n = strftime(out, sizeof out, format.data, &tm);
    if (n == 0)
        arena_fail(a, "strftime_now's format is too long");
    return value_str(str_copy(a, out, n - 1));
}

struct value method_call(struct arena *a, const struct function *f, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    struct str s = f->self.kind == VALUE_STRING ? f->self.str : (struct str){"", 0};
    switch ((enum what)f->what) {
    case UNSUPPORTED:
        arena_fail(a, "the method %s.%.*s is not supported", value_type(f->self), STR_ARG(f->name));
    case CAPITALIZE:
        return in_case(a, s, args, TEXT_CAPITALIZE);
    case LOWER:
        return in_case(a, s, args, TEXT_LOWER);
    case TITLE:
        return in_case(a, s, args, TEXT_TITLE);
    case UPPER:
        return in_case(a, s, args, TEXT_UPPER);
    case COUNT:
    case FIND:
    case INDEX:
    case RFIND:
        return searched(a, s, args, (enum what)f->what);
    case STARTSWITH:
    case ENDSWITH:
        return affixed(a, s, args, f->what == ENDSWITH);
    case ISDIGIT:
    case ISLOWER:
    case ISSPACE:
    case ISUPPER:
        return all_are(a, s, args, (enum what)f->what);
    case JOIN:
        return joined(a, s, args);
    case STRIP:
    case LSTRIP:
    case RSTRIP:
        return stripped(a, s, args, (enum what)f->what);
    case REMOVEPREFIX:
    case REMOVESUFFIX:
        return without(a, s, args, f->what == REMOVESUFFIX);
    case REPLACE:
        return replaced(a, s, args);
    case SPLIT:
    case RSPLIT:
        return split(a, s, args, f->what == RSPLIT);
    case SPLITLINES:
        return lines(a, s, args);
    case DICT_COPY:
    case LIST_COPY:
        args_bind(a, args, "copy", "", NULL);
        return copied(a, f->self);
    case DICT_GET:
        return got(a, f->self.dict, args);
    case DICT_ITEMS:
    case DICT_KEYS:
    case DICT_VALUES:
        return view(a, f->self.dict, args, (enum what)f->what);
    case LIST_COUNT:
    case LIST_INDEX:
        return counted(a, f->self.list, args, (enum what)f->what);
    case MAKE_DICT:
        return made_dict(a, args, "dict");
    case MAKE_NAMESPACE:
        return made_namespace(a, args);
    case MAKE_RANGE:
        return made_range(a, args);
    case RAISE_EXCEPTION:
        args_bind(a, args, "raise_exception", "message", p);
        arena_fail(a, "the template refuses: %.*s", p[0] ? (int)value_to_str(a, *p[0]).n : 0,
                   p[0] ? value_to_str(a, *p[0]).data : "");
    case STRFTIME_NOW:
        return formatted_time(a, args);
    }
    BUG("a function without a body");
}
