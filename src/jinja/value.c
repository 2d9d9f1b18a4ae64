#include "jinja/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jinja/text.h"

struct value value_none(void)
{
    return (struct value){.kind = VALUE_NONE};
}

struct value value_bool(bool b)
{
    return (struct value){.kind = VALUE_BOOL, .truth = b};
}

struct value value_int(int64_t i)
{
    return (struct value){.kind = VALUE_INT, .whole = i};
}

struct value value_float(double f)
{
    return (struct value){.kind = VALUE_FLOAT, .real = f};
}

struct value value_str(struct str s)
{
    return (struct value){.kind = VALUE_STRING, .str = s};
}

struct value value_undefined(struct str what)
{
    return (struct value){.kind = VALUE_UNDEFINED, .str = what};
}

struct value value_list(struct arena *a, enum list_form form)
{
    struct list *l = arena_zeroed(a, sizeof *l);
    l->form = form;
    return (struct value){.kind = VALUE_LIST, .list = l};
}

struct value value_dict(struct arena *a)
{
    return (struct value){.kind = VALUE_DICT, .dict = arena_zeroed(a, sizeof(struct dict))};
}

struct value value_pair(struct arena *a, struct value first, struct value second)
{
    struct value pair = value_list(a, LIST_TUPLE);
    list_add(a, pair.list, first);
    list_add(a, pair.list, second);
    return pair;
}

void list_add(struct arena *a, struct list *l, struct value v)
{
    if (l->n == LIST_MAX)
        arena_fail(a, "a list has more than %zu items", LIST_MAX);
    l->items = arena_grow(a, l->items, l->n, &l->capacity, sizeof *l->items);
    l->items[l->n++] = v;
    arena_charge(a, 1);
}

ptrdiff_t dict_find_str(const struct dict *d, struct str key)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->keys[i].kind == VALUE_STRING && str_same(d->keys[i].str, key))
            return (ptrdiff_t)i;
    return -1;
}

bool value_is_key(struct value v)
{
    return v.kind != VALUE_DICT && !(v.kind == VALUE_LIST && v.list->form != LIST_TUPLE);
}

ptrdiff_t dict_find(struct arena *a, const struct dict *d, struct value key)
{
    arena_charge(a, d->n / 16);
    if (key.kind == VALUE_STRING)
        return dict_find_str(d, key.str);
    if (!value_is_key(key))
        arena_fail(a, "a %s cannot be a key of a dict", value_type(key));
    for (size_t i = 0; i < d->n; i++)
        if (value_equal(a, d->keys[i], key))
            return (ptrdiff_t)i;
    return -1;
}

void dict_set(struct arena *a, struct dict *d, struct value key, struct value v)
{
    ptrdiff_t at = dict_find(a, d, key);
    if (at < 0) {
        if (d->n == LIST_MAX)
            arena_fail(a, "a dict has more than %zu keys", LIST_MAX);
        size_t capacity = d->capacity;
        d->keys = arena_grow(a, d->keys, d->n, &capacity, sizeof *d->keys);
        d->values = arena_grow(a, d->values, d->n, &d->capacity, sizeof *d->values);
        at = (ptrdiff_t)d->n++;
        d->keys[at] = key;
    }
    d->values[at] = v;
}

static struct value dict_from_json(struct arena *a, const json_t *json)
{
    struct value v = value_dict(a);
    struct dict *d = v.dict;
    d->capacity = json_object_size(json);
    d->keys = arena_alloc(a, d->capacity * sizeof *d->keys);
    d->values = arena_alloc(a, d->capacity * sizeof *d->values);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        d->keys[d->n] = value_str(str_of(key));
        d->values[d->n++] = value_from_json(a, value, false);
    }
    return v;
}

struct value value_from_json(struct arena *a, const json_t *json, bool tracked)
{
    struct value v = value_none();
    arena_charge(a, 1);
    arena_enter(a);
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_NULL:
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = value_bool(json_is_true(json));
        break;
    case JSON_INTEGER:
        v = value_int(json_integer_value(json));
        break;
    case JSON_REAL:
        v = value_float(json_real_value(json));
        break;
    case JSON_STRING:
        v = value_str((struct str){json_string_value(json), json_string_length(json)});
        break;
    case JSON_OBJECT:
        v = dict_from_json(a, json);
        break;
    case JSON_ARRAY:
        v = value_list(a, LIST);
        for (size_t i = 0; i < json_array_size(json); i++) {
            struct value item = value_from_json(a, json_array_get(json, i), false);
            if (tracked && item.kind == VALUE_DICT)
                item.dict->item = i + 1;
            list_add(a, v.list, item);
        }
        break;
    }
    arena_leave(a);
    return v;
}

const char *value_type(struct value v)
{
    static const char *const forms[] = {"list", "tuple", "range", "dict view", "generator"};
    static const char *const kinds[] = {"undefined", "None", "bool",      "int",   "float", "str",
                                        "list",      "dict", "namespace", "macro", "loop",  "function"};
    return v.kind == VALUE_LIST ? forms[v.list->form] : kinds[v.kind];
}

bool value_is_number(struct value v)
{
    return v.kind == VALUE_BOOL || v.kind == VALUE_INT || v.kind == VALUE_FLOAT;
}

double value_real(struct value v)
{
    return v.kind == VALUE_FLOAT ? v.real : v.kind == VALUE_INT ? (double)v.whole : v.truth;
}

bool value_truth(struct value v)
{
    switch (v.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v.truth;
    case VALUE_INT:
        return v.whole != 0;
    case VALUE_FLOAT:
        return v.real != 0;
    case VALUE_STRING:
        return v.str.n > 0;
    case VALUE_LIST:
        return v.list->n > 0 || v.list->form == LIST_GENERATOR;
    case VALUE_DICT:
        return v.dict->n > 0;
    default:
        return true;
    }
}

static int compare_numbers(struct value x, struct value y, bool *nan)
{
    if (x.kind == VALUE_FLOAT && y.kind == VALUE_FLOAT) {
        *nan = isnan(x.real) || isnan(y.real);
        return (x.real > y.real) - (x.real < y.real);
    }
    if (y.kind == VALUE_FLOAT)
        return -compare_numbers(y, x, nan);
    int64_t i = y.kind == VALUE_INT ? y.whole : y.truth;
    if (x.kind != VALUE_FLOAT) {
        int64_t k = x.kind == VALUE_INT ? x.whole : x.truth;
        return (k > i) - (k < i);
    }
    /* An integer has bits that a double has not. */
    *nan = isnan(x.real);
    if (*nan)
        return 0;
    if (x.real >= 0x1p63 || x.real < -0x1p63)
        return x.real > 0 ? 1 : -1;
    double below = floor(x.real);
    int64_t k = (int64_t)below;
    return k != i ? (k > i) - (k < i) : x.real > below;
}

bool value_equal(struct arena *a, struct value x, struct value y)
{
    bool nan = false;
    arena_charge(a, 1);
    if (value_is_number(x) && value_is_number(y))
        return compare_numbers(x, y, &nan) == 0 && !nan;
    if (x.kind != y.kind)
        return false;
    bool equal = true;
    arena_enter(a);
    switch (x.kind) {
    case VALUE_STRING:
        arena_charge(a, x.str.n / 64);
        equal = str_same(x.str, y.str);
        break;
    case VALUE_LIST:
        if (x.list == y.list)
            break;
        equal = x.list->form == y.list->form && x.list->form <= LIST_RANGE && x.list->n == y.list->n;
        if (x.list->form == LIST_VIEW && y.list->form == LIST_VIEW)
            arena_fail(a, "two views of dicts cannot be compared here: make them lists with |list");
        for (size_t i = 0; equal && i < x.list->n; i++)
            equal = value_equal(a, x.list->items[i], y.list->items[i]);
        break;
    case VALUE_DICT:
        if (x.dict == y.dict)
            break;
        equal = x.dict->n == y.dict->n;
        for (size_t i = 0; equal && i < x.dict->n; i++) {
            ptrdiff_t at = dict_find(a, y.dict, x.dict->keys[i]);
            equal = at >= 0 && value_equal(a, x.dict->values[i], y.dict->values[at]);
        }
        break;
    case VALUE_NAMESPACE:
    case VALUE_MACRO:
    case VALUE_LOOP:
    case VALUE_FUNCTION:
        equal = x.dict == y.dict;
        break;
    default: /* undefined, None */
        break;
    }
    arena_leave(a);
    return equal;
}

int value_compare(struct arena *a, struct value x, struct value y, bool *nan)
{
    *nan = false;
    arena_charge(a, 1);
    if (value_is_number(x) && value_is_number(y))
        return compare_numbers(x, y, nan);
    if (x.kind == VALUE_UNDEFINED || y.kind == VALUE_UNDEFINED) {
        struct str what = x.kind == VALUE_UNDEFINED ? x.str : y.str;
        arena_fail(a, "'%.*s' is undefined", STR_ARG(what));
    }
    if (x.kind == VALUE_STRING && y.kind == VALUE_STRING) {
        size_t n = x.str.n < y.str.n ? x.str.n : y.str.n;
        arena_charge(a, n / 64);
        int order = n ? memcmp(x.str.data, y.str.data, n) : 0;
        return order ? order : (x.str.n > y.str.n) - (x.str.n < y.str.n);
    }
    if (x.kind != VALUE_LIST || y.kind != VALUE_LIST || x.list->form != y.list->form || x.list->form > LIST_TUPLE)
        arena_fail(a, "a %s and a %s have no order", value_type(x), value_type(y));
    arena_enter(a);
    int order = 0;
    size_t n = x.list->n < y.list->n ? x.list->n : y.list->n, i = 0;
    while (i < n && value_equal(a, x.list->items[i], y.list->items[i]))
        i++;
    if (i < n)
        order = value_compare(a, x.list->items[i], y.list->items[i], nan);
    else
        order = (x.list->n > y.list->n) - (x.list->n < y.list->n);
    arena_leave(a);
    return order;
}

/* The shortest digits that read back as x; an exponent below 10^-4 and from 10^16 on. */
void float_repr(char out[32], double x)
{
    if (!isfinite(x)) {
        snprintf(out, 32, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    char digits[40];
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, x);
    while (strtod(digits, NULL) != x && ++precision < 17);
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1);
    if (exponent < -4 || exponent >= 16) {
        *e = 0;
        snprintf(out, 32, "%.20se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent) % 1000);
    } else {
        int decimals = precision - exponent;
        snprintf(out, 32, "%.*f", decimals > 1 ? decimals : 1, x);
    }
}

static void str_repr(struct text *out, struct str s)
{
    bool single = memchr(s.data, '\'', s.n), twice = memchr(s.data, '"', s.n);
    char quote = single && !twice ? '"' : '\'';
    text_add(out, &quote, 1);
    for (size_t at = 0, len; at < s.n; at += len) {
        uint32_t c;
        char escape[12];
        len = char_at(s, at, &c);
        if (c == (unsigned char)quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!char_is_hidden(c) || (c >= 0xdc00 && c < 0xe000))
            *escape = 0;
        else
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        if (*escape)
            text_c(out, escape);
        else
            text_add(out, s.data + at, len);
    }
    text_add(out, &quote, 1);
}

static void list_repr(struct text *out, const struct list *l)
{
    if (l->form == LIST_RANGE || l->form == LIST_VIEW || l->form == LIST_GENERATOR)
        arena_fail(out->arena, "a %s cannot be printed: make it a list with |list",
                   value_type((struct value){.kind = VALUE_LIST, .list = (struct list *)l}));
    text_c(out, l->form == LIST_TUPLE ? "(" : "[");
    for (size_t i = 0; i < l->n; i++) {
        text_c(out, i ? ", " : "");
        value_repr(out, l->items[i]);
    }
    text_c(out, l->form == LIST_TUPLE ? l->n == 1 ? ",)" : ")" : "]");
}

void value_repr(struct text *out, struct value v)
{
    char number[32];
    arena_enter(out->arena);
    switch (v.kind) {
    case VALUE_UNDEFINED:
        text_c(out, "Undefined");
        break;
    case VALUE_NONE:
        text_c(out, "None");
        break;
    case VALUE_BOOL:
        text_c(out, v.truth ? "True" : "False");
        break;
    case VALUE_INT:
        snprintf(number, sizeof number, "%lld", (long long)v.whole);
        text_c(out, number);
        break;
    case VALUE_FLOAT:
        float_repr(number, v.real);
        text_c(out, number);
        break;
    case VALUE_STRING:
        text_c(out, v.markup ? "Markup(" : "");
        str_repr(out, v.str);
        text_c(out, v.markup ? ")" : "");
        break;
    case VALUE_LIST:
        list_repr(out, v.list);
        break;
    case VALUE_DICT:
        text_c(out, "{");
        for (size_t i = 0; i < v.dict->n; i++) {
            text_c(out, i ? ", " : "");
            value_repr(out, v.dict->keys[i]);
            text_c(out, ": ");
            value_repr(out, v.dict->values[i]);
        }
        text_c(out, "}");
        break;
    default:
        arena_fail(out->arena, "a %s cannot be printed", value_type(v));
    }
    arena_leave(out->arena);
}

struct str value_to_str(struct arena *a, struct value v)
{
    if (v.kind == VALUE_STRING)
        return v.str;
    struct text out = {.arena = a};
    if (v.kind != VALUE_UNDEFINED)
        value_repr(&out, v);
    return text_done(&out);
}

/* ---- JSON, as json.dumps() writes it ---- */

static void write_string(struct text *out, struct str s, bool ascii)
{
    text_c(out, "\"");
    for (size_t at = 0, len; at < s.n; at += len) {
        static const char names[] = "\"\\\n\r\t\f\b", escapes[] = "\"\\nrtfb";
        uint32_t c;
        char escape[16];
        len = char_at(s, at, &c);
        const char *name = c && c < 0x80 ? strchr(names, (int)c) : NULL;
        if (name)
            snprintf(escape, sizeof escape, "\\%c", escapes[name - names]);
        else if (c < 0x20 || (ascii && c >= 0x7f && c < 0x10000))
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
        else
            *escape = 0;
        if (*escape)
            text_c(out, escape);
        else
            text_add(out, s.data + at, len);
    }
    text_c(out, "\"");
}

static void json_break(struct text *out, const struct json_style *style, size_t level)
{
    if (!style->indented)
        return;
    text_c(out, "\n");
    for (size_t i = 0; i < level; i++)
        text_str(out, style->indent);
}

static void to_json(struct text *out, struct value v, const struct json_style *style, size_t level);

static void json_number(struct text *out, struct value v)
{
    if (v.kind == VALUE_FLOAT && !isfinite(v.real))
        text_c(out, isnan(v.real) ? "NaN" : v.real < 0 ? "-Infinity" : "Infinity");
    else if (v.kind == VALUE_BOOL)
        text_c(out, v.truth ? "true" : "false");
    else
        value_repr(out, v);
}

static void json_key(struct text *out, struct value key, const struct json_style *style)
{
    if (key.kind == VALUE_STRING) {
        write_string(out, key.str, style->ascii);
        return;
    }
    if (key.kind != VALUE_NONE && !value_is_number(key))
        arena_fail(out->arena, "a %s cannot be a key in JSON", value_type(key));
    text_c(out, "\"");
    if (key.kind == VALUE_NONE)
        text_c(out, "null");
    else
        json_number(out, key);
    text_c(out, "\"");
}

static const struct dict *sorted(struct arena *a, const struct dict *d)
{
    struct dict *s = arena_zeroed(a, sizeof *s);
    s->keys = arena_alloc(a, d->n * sizeof *s->keys);
    s->values = arena_alloc(a, d->n * sizeof *s->values);
    for (size_t i = 0; i < d->n; i++) {
        size_t k = s->n++;
        bool nan;
        for (; k > 0 && value_compare(a, s->keys[k - 1], d->keys[i], &nan) > 0; k--) {
            s->keys[k] = s->keys[k - 1];
            s->values[k] = s->values[k - 1];
        }
        s->keys[k] = d->keys[i];
        s->values[k] = d->values[i];
    }
    return s;
}

static void to_json(struct text *out, struct value v, const struct json_style *style, size_t level)
{
    arena_enter(out->arena);
    switch (v.kind) {
    case VALUE_NONE:
        text_c(out, "null");
        break;
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT:
        json_number(out, v);
        break;
    case VALUE_STRING:
        write_string(out, v.str, style->ascii);
        break;
    case VALUE_LIST:
        if (v.list->form > LIST_TUPLE)
            arena_fail(out->arena, "a %s cannot be written as JSON", value_type(v));
        text_c(out, "[");
        for (size_t i = 0; i < v.list->n; i++) {
            if (i)
                text_str(out, style->item_separator);
            json_break(out, style, level + 1);
            to_json(out, v.list->items[i], style, level + 1);
        }
        if (v.list->n)
            json_break(out, style, level);
        text_c(out, "]");
        break;
    case VALUE_DICT: {
        const struct dict *d = style->sort_keys ? sorted(out->arena, v.dict) : v.dict;
        text_c(out, "{");
        for (size_t i = 0; i < d->n; i++) {
            if (i)
                text_str(out, style->item_separator);
            json_break(out, style, level + 1);
            json_key(out, d->keys[i], style);
            text_str(out, style->key_separator);
            to_json(out, d->values[i], style, level + 1);
        }
        if (d->n)
            json_break(out, style, level);
        text_c(out, "}");
        break;
    }
    default:
        arena_fail(out->arena, "%s '%.*s' cannot be written as JSON", value_type(v),
                   STR_ARG((v.kind == VALUE_UNDEFINED ? v.str : str_of("?"))));
    }
    arena_leave(out->arena);
}

void value_to_json(struct text *out, struct value v, const struct json_style *style)
{
    to_json(out, v, style, 0);
}

/* ---- going through ---- */

bool value_is_iterable(struct value v)
{
    return v.kind == VALUE_UNDEFINED || v.kind == VALUE_STRING || v.kind == VALUE_LIST || v.kind == VALUE_DICT;
}

const struct value *value_items(struct arena *a, struct value v, size_t *n)
{
    struct list *chars;
    *n = 0;
    switch (v.kind) {
    case VALUE_UNDEFINED:
        return NULL;
    case VALUE_LIST:
        if (v.list->form == LIST_GENERATOR) {
            if (v.list->spent)
                arena_fail(a, "the result of a filter such as map or select is gone through a second "
                              "time: make it a list with |list");
            v.list->spent = true;
        }
        *n = v.list->n;
        return v.list->items;
    case VALUE_DICT:
        *n = v.dict->n;
        return v.dict->keys;
    case VALUE_STRING:
        chars = value_list(a, LIST).list;
        for (size_t at = 0, len; at < v.str.n; at += len) {
            uint32_t c;
            len = char_at(v.str, at, &c);
            list_add(a, chars, value_str((struct str){v.str.data + at, len}));
        }
        *n = chars->n;
        return chars->items;
    default:
        arena_fail(a, "a %s is nothing to go through", value_type(v));
    }
}
