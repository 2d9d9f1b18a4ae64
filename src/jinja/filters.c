/* The filters, each as Jinja's of the same name (tojson: transformers'). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jinja/ast.h"
#include "jinja/builtins.h"
#include "jinja/lexer.h"
#include "jinja/operators.h"
#include "jinja/text.h"

void args_bind(struct arena *a, const struct args *args, const char *what, const char *names,
               const struct value *v[MAX_PARAMETERS])
{
    size_t n = 0, named = 0;
    for (const char *name = names; *name; n++) {
        size_t len = strcspn(name, " ");
        ptrdiff_t at = args->named ? dict_find_str(args->named, (struct str){name, len}) : -1;
        v[n] = n < args->n ? &args->list[n] : NULL;
        if (at >= 0) {
            if (v[n])
                arena_fail(a, "%s: '%.*s' is given twice", what, (int)len, name);
            v[n] = &args->named->values[at];
            named++;
        }
        name += len;
        name += *name == ' ';
    }
    if (args->n > n)
        arena_fail(a, "%s takes at most %zu arguments, %zu are given", what, n, args->n);
    for (size_t i = 0; args->named && named < args->named->n && i < args->named->n; i++) {
        struct str key = args->named->keys[i].str;
        bool known = false;
        for (const char *name = names; *name;) {
            size_t len = strcspn(name, " ");
            known = known || str_same(key, (struct str){name, len});
            name += len;
            name += *name == ' ';
        }
        if (!known)
            arena_fail(a, "%s has no argument '%.*s'", what, STR_ARG(key));
    }
}

void must_be_plain(struct arena *a, struct value v, const char *what)
{
    if (v.kind == VALUE_STRING && v.markup)
        arena_fail(a, "%s is not supported on the text that safe or escape made", what);
}

struct value builtin_run(struct arena *a, const struct builtin *b, bool is_test, struct value v, const struct args *args)
{
    bool takes = is_test || b->takes_markup;
    if (!takes)
        must_be_plain(a, v, b->name);
    for (size_t i = 0; !takes && i < args->n; i++)
        must_be_plain(a, args->list[i], b->name);
    for (size_t i = 0; !takes && args->named && i < args->named->n; i++)
        must_be_plain(a, args->named->values[i], b->name);
    return b->run(a, v, args);
}

int64_t value_index(struct arena *a, struct value v, const char *what)
{
    if (v.kind == VALUE_BOOL)
        return v.truth;
    if (v.kind != VALUE_INT)
        arena_fail(a, "%s must be an integer, found a %s", what, value_type(v));
    return v.whole;
}

static bool flag(const struct value *v, bool standard)
{
    return v ? value_truth(*v) : standard;
}

/* ---- text ---- */

static struct value run_upper(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "upper", "", NULL);
    return value_str(text_to_case(a, value_to_str(a, v), TEXT_UPPER));
}

static struct value run_lower(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "lower", "", NULL);
    return value_str(text_to_case(a, value_to_str(a, v), TEXT_LOWER));
}

static struct value run_capitalize(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "capitalize", "", NULL);
    return value_str(text_to_case(a, value_to_str(a, v), TEXT_CAPITALIZE));
}

/* Words begin after white space and - ( { [ < only, unlike str.title(). */
static struct value run_title(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "title", "", NULL);
    struct str s = value_to_str(a, v);
    struct text out = {.arena = a};
    for (size_t at = 0; at < s.n;) {
        uint32_t c;
        size_t len = char_at(s, at, &c), end = at;
        while (end < s.n) {
            size_t n = char_at(s, end, &c);
            if (char_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c)))
                break;
            end += n;
        }
        if (end == at) {
            text_add(&out, s.data + at, len);
            at += len;
            continue;
        }
        text_str(&out, text_to_case(a, (struct str){s.data + at, len}, TEXT_UPPER));
        text_str(&out, text_to_case(a, (struct str){s.data + at + len, end - at - len}, TEXT_LOWER));
        at = end;
    }
    return value_str(text_done(&out));
}

static struct value run_trim(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "trim", "chars", p);
    bool given = p[0] && p[0]->kind != VALUE_NONE;
    if (given && p[0]->kind != VALUE_STRING)
        arena_fail(a, "trim needs characters, found a %s", value_type(*p[0]));
    return value_str(text_strip(value_to_str(a, v), given ? &p[0]->str : NULL, true, true));
}

static struct value run_string(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "string", "", NULL);
    return v.kind == VALUE_STRING ? v : value_str(value_to_str(a, v));
}

static struct value marked(struct str s)
{
    return (struct value){.kind = VALUE_STRING, .markup = true, .str = s};
}

static struct value run_safe(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "safe", "", NULL);
    return marked(value_to_str(a, v));
}

static struct value run_escape(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "escape", "", NULL);
    struct str s = value_to_str(a, v);
    if (v.kind == VALUE_STRING && v.markup)
        return v;
    struct text out = {.arena = a};
    for (size_t i = 0; i < s.n; i++) {
        char c = s.data[i];
        if (c == '&')
            text_c(&out, "&amp;");
        else if (c == '<')
            text_c(&out, "&lt;");
        else if (c == '>')
            text_c(&out, "&gt;");
        else if (c == '\'' || c == '"')
            text_c(&out, c == '"' ? "&#34;" : "&#39;");
        else
            text_add(&out, &c, 1);
    }
    return marked(text_done(&out));
}

static struct value run_replace(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "replace", "old new count", p);
    if (!p[0] || !p[1])
        arena_fail(a, "replace needs what to replace, and by what");
    int64_t count = p[2] && p[2]->kind != VALUE_NONE ? value_index(a, *p[2], "replace's count") : -1;
    return value_str(text_replace(a, value_to_str(a, v), value_to_str(a, *p[0]), value_to_str(a, *p[1]),
                                  count < 0 ? SIZE_MAX : (size_t)count));
}

static struct str spaces(struct arena *a, int64_t n)
{
    struct text out = {.arena = a};
    for (; n > 0; n--)
        text_c(&out, " ");
    return text_done(&out);
}

static struct value run_indent(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "indent", "width first blank", p);
    if (v.kind != VALUE_STRING)
        arena_fail(a, "indent needs a string, found a %s", value_type(v));
    struct str by = !p[0]                        ? spaces(a, 4)
                    : p[0]->kind == VALUE_STRING ? p[0]->str
                                                 : spaces(a, value_index(a, *p[0], "indent's width"));
    bool blank = flag(p[2], false);
    struct text in = {.arena = a}, out = {.arena = a};
    text_str(&in, v.str);
    text_c(&in, "\n");
    struct str s = text_done(&in);
    if (flag(p[1], false))
        text_str(&out, by);
    for (size_t at = 0, next; at < s.n; at = next) {
        size_t len = text_line(s, at, &next);
        if (at > 0) {
            text_c(&out, "\n");
            if (len || blank)
                text_str(&out, by);
        }
        text_add(&out, s.data + at, len);
    }
    return value_str(text_done(&out));
}

static struct value run_tojson(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "tojson", "ensure_ascii indent separators sort_keys", p);
    struct json_style style = {.ascii = flag(p[0], false),
                               .sort_keys = flag(p[3], false),
                               .indented = p[1] && p[1]->kind != VALUE_NONE,
                               .item_separator = str_of(", "),
                               .key_separator = str_of(": ")};
    if (style.indented) {
        style.item_separator = str_of(",");
        style.indent = p[1]->kind == VALUE_STRING ? p[1]->str : spaces(a, value_index(a, *p[1], "tojson's indent"));
    }
    if (p[2] && p[2]->kind != VALUE_NONE) {
        const struct list *l = p[2]->kind == VALUE_LIST ? p[2]->list : NULL;
        if (!l || l->n != 2 || l->items[0].kind != VALUE_STRING || l->items[1].kind != VALUE_STRING)
            arena_fail(a, "tojson's separators must be two strings");
        style.item_separator = l->items[0].str;
        style.key_separator = l->items[1].str;
    }
    struct text out = {.arena = a};
    value_to_json(&out, v, &style);
    return value_str(text_done(&out));
}

/* ---- numbers ---- */

/* The digits of a string as Python's int() and float() take them: white space around, _ between digits.
 * False where it holds other characters. */
static bool number_text(char out[80], struct str s, const char *others)
{
    size_t n = 0;
    s = text_strip(s, NULL, true, true);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.data[i];
        bool digit = c >= '0' && c <= '9';
        if (c == '_') {
            bool between = i > 0 && i + 1 < s.n && s.data[i - 1] >= '0' && s.data[i - 1] <= '9' && s.data[i + 1] >= '0' &&
                           s.data[i + 1] <= '9';
            if (!between)
                return false;
            continue;
        }
        if ((!digit && (!c || !strchr(others, c))) || n + 1 == 80)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return n > 0;
}

static bool parse_real(double *out, struct str s)
{
    char digits[80], *end;
    struct str word = text_strip(s, NULL, true, true);
    static const char *const words[] = {"inf", "infinity", "nan"};
    for (size_t i = 0; i < 3; i++) {
        size_t sign = word.n && (word.data[0] == '-' || word.data[0] == '+'), n = strlen(words[i]), k = 0;
        while (word.n == n + sign && k < n && (word.data[sign + k] | 32) == words[i][k])
            k++;
        if (k == n) {
            *out = i == 2 ? (double)NAN : word.data[0] == '-' ? -(double)INFINITY : (double)INFINITY;
            return true;
        }
    }
    if (!number_text(digits, s, "+-.eE"))
        return false;
    *out = strtod(digits, &end);
    return !*end;
}

static bool parse_whole(struct arena *a, int64_t *out, struct str s)
{
    char digits[80];
    if (!number_text(digits, s, "+-"))
        return false;
    size_t sign = digits[0] == '-' || digits[0] == '+';
    if (!digits[sign] || strspn(digits + sign, "0123456789") < strlen(digits + sign))
        return false;
    *out = 0;
    for (const char *d = digits + sign; *d; d++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_sub_overflow(*out, *d - '0', out)) /* downwards: there is one more */
            arena_fail(a, "the number '%s' has more than 64 bits", digits);
    if (*digits != '-' && __builtin_sub_overflow(0, *out, out))
        arena_fail(a, "the number '%s' has more than 64 bits", digits);
    return true;
}

static struct value whole_of_real(struct arena *a, double x)
{
    if (!(x >= -0x1p63 && x < 0x1p63))
        arena_fail(a, "the number %g has more than 64 bits", x);
    return value_int((int64_t)x);
}

static struct value run_int(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    int64_t i;
    double x;
    args_bind(a, args, "int", "default base", p);
    if (p[1] && value_index(a, *p[1], "int's base") != 10)
        arena_fail(a, "int with a base other than 10 is not supported");
    if (v.kind == VALUE_UNDEFINED)
        arena_fail(a, "'%.*s' is undefined", STR_ARG(v.str));
    if (v.kind == VALUE_BOOL || v.kind == VALUE_INT)
        return value_int(value_index(a, v, "int"));
    if (v.kind == VALUE_STRING && parse_whole(a, &i, v.str))
        return value_int(i);
    if (v.kind == VALUE_FLOAT && !isnan(v.real))
        return whole_of_real(a, v.real);
    if (v.kind == VALUE_STRING && parse_real(&x, v.str) && isfinite(x))
        return whole_of_real(a, x);
    return p[0] ? *p[0] : value_int(0);
}

static struct value run_float(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    double x;
    args_bind(a, args, "float", "default", p);
    if (v.kind == VALUE_UNDEFINED)
        arena_fail(a, "'%.*s' is undefined", STR_ARG(v.str));
    if (value_is_number(v))
        return value_float(value_real(v));
    if (v.kind == VALUE_STRING && parse_real(&x, v.str))
        return value_float(x);
    return p[0] ? *p[0] : value_float(0);
}

static struct value run_abs(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "abs", "", NULL);
    if (v.kind == VALUE_FLOAT)
        return value_float(fabs(v.real));
    int64_t i = value_index(a, v, "what abs is applied to");
    return i < 0 ? value_unary(a, '-', value_int(i)) : value_int(i);
}

static struct value run_round(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    char digits[400];
    args_bind(a, args, "round", "precision method", p);
    int64_t precision = p[0] ? value_index(a, *p[0], "round's precision") : 0;
    struct str method = p[1] && p[1]->kind == VALUE_STRING ? p[1]->str : str_of(p[1] ? "?" : "common");
    if (!value_is_number(v))
        arena_fail(a, "round needs a number, found a %s", value_type(v));
    if (precision < 0 || precision > 15)
        arena_fail(a, "round with a precision of %lld is not supported: take 0 to 15", (long long)precision);
    bool down = str_is(method, "floor"), up = str_is(method, "ceil");
    if (!down && !up && !str_is(method, "common"))
        arena_fail(a, "round's method must be common, ceil or floor");
    if (!down && !up) {
        if (v.kind != VALUE_FLOAT)
            return value_int(value_index(a, v, "round"));
        snprintf(digits, sizeof digits, "%.*f", (int)precision, v.real); /* half to even, exactly */
        return value_float(strtod(digits, NULL));
    }
    double scale = pow(10, (double)precision), x = value_real(v) * scale;
    if (!isfinite(x))
        arena_fail(a, "round needs a finite number");
    return value_float((down ? floor(x) : ceil(x)) / scale);
}

/* ---- lists ---- */

static struct value run_default(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "default", "default_value boolean", p);
    if (v.kind == VALUE_UNDEFINED || (flag(p[1], false) && !value_truth(v)))
        return p[0] ? *p[0] : value_str(str_of(""));
    return v;
}

static struct value run_length(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "length", "", NULL);
    return value_int((int64_t)value_length(a, v));
}

static struct value run_first(struct arena *a, struct value v, const struct args *args)
{
    size_t n;
    args_bind(a, args, "first", "", NULL);
    const struct value *items = value_items(a, v, &n);
    return n ? items[0] : value_undefined(str_of("the first item of an empty list"));
}

static void need_ends(struct arena *a, struct value v, const char *what)
{
    if (v.kind == VALUE_LIST && v.list->form == LIST_GENERATOR)
        arena_fail(a, "%s needs a list, found a generator: make it a list with |list", what);
}

static struct value run_last(struct arena *a, struct value v, const struct args *args)
{
    size_t n;
    args_bind(a, args, "last", "", NULL);
    need_ends(a, v, "last");
    const struct value *items = value_items(a, v, &n);
    return n ? items[n - 1] : value_undefined(str_of("the last item of an empty list"));
}

static struct value list_of(struct arena *a, struct value v, enum list_form form)
{
    size_t n;
    const struct value *items = value_items(a, v, &n);
    struct value out = value_list(a, form);
    for (size_t i = 0; i < n; i++)
        list_add(a, out.list, items[i]);
    return out;
}

static struct value run_list(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "list", "", NULL);
    return list_of(a, v, LIST);
}

static struct value run_reverse(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "reverse", "", NULL);
    if (v.kind == VALUE_STRING)
        return value_str(text_slice(a, v.str, (int64_t)text_length(a, v.str) - 1, -1, -1));
    bool is_generator = v.kind == VALUE_LIST && v.list->form == LIST_GENERATOR;
    struct value out = list_of(a, v, is_generator ? LIST : LIST_GENERATOR);
    for (size_t i = 0, n = out.list->n; i < n / 2; i++) {
        struct value t = out.list->items[i];
        out.list->items[i] = out.list->items[n - 1 - i];
        out.list->items[n - 1 - i] = t;
    }
    return out;
}

static struct value pairs_of(struct arena *a, struct value v, enum list_form form, const char *what)
{
    struct value out = value_list(a, form);
    if (v.kind != VALUE_DICT)
        arena_fail(a, "%s needs a dict, found a %s", what, value_type(v));
    for (size_t i = 0; i < v.dict->n; i++)
        list_add(a, out.list, value_pair(a, v.dict->keys[i], v.dict->values[i]));
    return out;
}

static struct value run_items(struct arena *a, struct value v, const struct args *args)
{
    args_bind(a, args, "items", "", NULL);
    return v.kind == VALUE_UNDEFINED ? value_list(a, LIST_GENERATOR) : pairs_of(a, v, LIST_GENERATOR, "items");
}

/* What "a.b" or 0 finds in an item; NULL: the item itself. */
static struct value found(struct arena *a, struct value v, const struct value *attribute, const struct value *standard)
{
    if (!attribute || attribute->kind == VALUE_NONE)
        return v;
    if (attribute->kind != VALUE_STRING) {
        v = value_item(a, v, *attribute);
        return v.kind == VALUE_UNDEFINED && standard ? *standard : v;
    }
    struct str path = attribute->str;
    for (size_t at = 0, dot; at <= path.n; at = dot + 1) {
        for (dot = at; dot < path.n && path.data[dot] != '.'; dot++)
            continue;
        struct str part = {path.data + at, dot - at};
        bool digits = part.n > 0 && part.n < 10;
        for (size_t i = 0; i < part.n; i++)
            digits = digits && part.data[i] >= '0' && part.data[i] <= '9';
        int64_t index = 0;
        if (digits)
            parse_whole(a, &index, part);
        v = value_item(a, v, digits ? value_int(index) : value_str(part));
        if (v.kind == VALUE_UNDEFINED && standard && standard->kind != VALUE_NONE)
            v = *standard;
    }
    return v;
}

static struct value folded(struct arena *a, struct value v, bool case_sensitive)
{
    return v.kind == VALUE_STRING && !case_sensitive ? value_str(text_to_case(a, v.str, TEXT_LOWER)) : v;
}

static struct value run_join(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    size_t n;
    args_bind(a, args, "join", "d attribute", p);
    struct str between = p[0] ? value_to_str(a, *p[0]) : str_of("");
    const struct value *items = value_items(a, v, &n);
    struct text out = {.arena = a};
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_str(&out, between);
        text_str(&out, value_to_str(a, found(a, items[i], p[1], NULL)));
    }
    return value_str(text_done(&out));
}

static struct value run_sum(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    size_t n;
    args_bind(a, args, "sum", "attribute start", p);
    struct value total = p[1] ? *p[1] : value_int(0);
    if (total.kind == VALUE_STRING)
        arena_fail(a, "sum cannot add strings: use join");
    const struct value *items = value_items(a, v, &n);
    for (size_t i = 0; i < n; i++)
        total = value_binary(a, '+', total, found(a, items[i], p[0], NULL));
    return total;
}

static struct value extreme(struct arena *a, struct value v, const struct args *args, int sign, const char *what)
{
    const struct value *p[MAX_PARAMETERS];
    size_t n, best = 0;
    args_bind(a, args, what, "case_sensitive attribute", p);
    const struct value *items = value_items(a, v, &n);
    if (!n)
        return value_undefined(str_of("an item of an empty list"));
    struct value top = folded(a, found(a, items[0], p[1], NULL), flag(p[0], false));
    for (size_t i = 1; i < n; i++) {
        struct value key = folded(a, found(a, items[i], p[1], NULL), flag(p[0], false));
        if (value_compared(a, sign, key, top)) {
            top = key;
            best = i;
        }
    }
    return items[best];
}

static struct value run_min(struct arena *a, struct value v, const struct args *args)
{
    return extreme(a, v, args, '<', "min");
}

static struct value run_max(struct arena *a, struct value v, const struct args *args)
{
    return extreme(a, v, args, '>', "max");
}

/* Stable; items[i] goes with keys[i].  A reverse order keeps equal ones in their order, too. */
static void sort(struct arena *a, struct value *keys, struct value *items, size_t n, bool reverse)
{
    struct value *k = arena_alloc(a, 2 * n * sizeof *k + 1), *v = k + n;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t middle = from + width < n ? from + width : n;
            size_t end = from + 2 * width < n ? from + 2 * width : n;
            for (size_t i = from, left = from, right = middle; i < end; i++) {
                bool take_right =
                    right < end && (left == middle || value_compared(a, reverse ? '>' : '<', keys[right], keys[left]));
                size_t at = take_right ? right++ : left++;
                k[i] = keys[at];
                v[i] = items[at];
            }
        }
        memcpy(keys, k, n * sizeof *k);
        memcpy(items, v, n * sizeof *v);
    }
}

static struct value sorted(struct arena *a, struct value out, struct value *keys, bool reverse)
{
    if (out.list->n)
        sort(a, keys, out.list->items, out.list->n, reverse);
    return out;
}

static struct value run_sort(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "sort", "reverse case_sensitive attribute", p);
    if (p[2] && p[2]->kind == VALUE_STRING && memchr(p[2]->str.data, ',', p[2]->str.n))
        arena_fail(a, "sort by several attributes is not supported: sort twice");
    struct value out = list_of(a, v, LIST);
    struct value *keys = arena_alloc(a, (out.list->n + 1) * sizeof *keys);
    for (size_t i = 0; i < out.list->n; i++)
        keys[i] = folded(a, found(a, out.list->items[i], p[2], NULL), flag(p[1], false));
    return sorted(a, out, keys, flag(p[0], false));
}

static struct value run_dictsort(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "dictsort", "case_sensitive by reverse", p);
    struct str by = p[1] && p[1]->kind == VALUE_STRING ? p[1]->str : str_of(p[1] ? "?" : "key");
    if (!str_is(by, "key") && !str_is(by, "value"))
        arena_fail(a, "dictsort can sort by 'key' or by 'value'");
    struct value out = pairs_of(a, v, LIST, "dictsort");
    struct value *keys = arena_alloc(a, (out.list->n + 1) * sizeof *keys);
    for (size_t i = 0; i < out.list->n; i++)
        keys[i] = folded(a, out.list->items[i].list->items[str_is(by, "value")], flag(p[0], false));
    return sorted(a, out, keys, flag(p[2], false));
}

static struct value run_unique(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    size_t n;
    args_bind(a, args, "unique", "case_sensitive attribute", p);
    struct dict *seen = value_dict(a).dict;
    struct value out = value_list(a, LIST_GENERATOR);
    const struct value *items = value_items(a, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct value key = folded(a, found(a, items[i], p[1], NULL), flag(p[0], false));
        if (dict_find(a, seen, key) < 0) {
            dict_set(a, seen, key, value_none());
            list_add(a, out.list, items[i]);
        }
    }
    return out;
}

static struct value run_batch(struct arena *a, struct value v, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    size_t n;
    args_bind(a, args, "batch", "linecount fill_with", p);
    int64_t count = p[0] ? value_index(a, *p[0], "batch's count") : 0;
    if (count < 1)
        arena_fail(a, "batch needs a count of at least 1");
    struct value out = value_list(a, LIST_GENERATOR), row = {0};
    const struct value *items = value_items(a, v, &n);
    for (size_t i = 0; i < n; i++) {
        if (i % (size_t)count == 0) {
            row = value_list(a, LIST);
            list_add(a, out.list, row);
        }
        list_add(a, row.list, items[i]);
    }
    while (n && p[1] && p[1]->kind != VALUE_NONE && row.list->n < (size_t)count)
        list_add(a, row.list, *p[1]);
    return out;
}

static struct value run_map(struct arena *a, struct value v, const struct args *args)
{
    struct value out = value_list(a, LIST_GENERATOR);
    const struct value *p[MAX_PARAMETERS];
    const struct builtin *filter = NULL;
    struct args rest = {0};
    size_t n;
    if (args->n) {
        if (args->list[0].kind != VALUE_STRING || !(filter = filter_find(args->list[0].str)))
            arena_fail(a, "map with the filter '%.*s' is not supported", STR_ARG(value_to_str(a, args->list[0])));
        rest = (struct args){args->list + 1, args->n - 1, args->named};
    } else {
        args_bind(a, args, "map", "attribute default", p);
        if (args->n || !args->named || dict_find_str(args->named, str_of("attribute")) < 0)
            arena_fail(a, "map needs the name of a filter, or attribute=");
    }
    const struct value *items = value_items(a, v, &n);
    for (size_t i = 0; i < n; i++)
        list_add(a, out.list, filter ? builtin_run(a, filter, false, items[i], &rest) : found(a, items[i], p[0], p[1]));
    return out;
}

/* select, reject and the two that look at an attribute. */
static struct value chosen(struct arena *a, struct value v, const struct args *args, bool by_attribute, bool wanted)
{
    struct value out = value_list(a, LIST_GENERATOR);
    const struct builtin *test = NULL;
    struct args rest = {0};
    size_t n, off = by_attribute;
    if (args->n < off)
        arena_fail(a, "selectattr and rejectattr need the name of an attribute");
    if (args->n > off) {
        if (args->list[off].kind != VALUE_STRING || !(test = test_find(args->list[off].str)))
            arena_fail(a, "the test '%.*s' is not supported", STR_ARG(value_to_str(a, args->list[off])));
        rest = (struct args){args->list + off + 1, args->n - off - 1, args->named};
    }
    if (!value_truth(v))
        return out;
    const struct value *items = value_items(a, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct value x = by_attribute ? found(a, items[i], &args->list[0], NULL) : items[i];
        if (value_truth(test ? builtin_run(a, test, true, x, &rest) : x) == wanted)
            list_add(a, out.list, items[i]);
    }
    return out;
}

static struct value run_select(struct arena *a, struct value v, const struct args *args)
{
    return chosen(a, v, args, false, true);
}

static struct value run_reject(struct arena *a, struct value v, const struct args *args)
{
    return chosen(a, v, args, false, false);
}

static struct value run_selectattr(struct arena *a, struct value v, const struct args *args)
{
    return chosen(a, v, args, true, true);
}

static struct value run_rejectattr(struct arena *a, struct value v, const struct args *args)
{
    return chosen(a, v, args, true, false);
}

static const struct builtin filters[] = {
    {"abs", run_abs},
    {"batch", run_batch},
    {"capitalize", run_capitalize},
    {"count", run_length, .takes_markup = true},
    {"d", run_default, .takes_markup = true},
    {"default", run_default, .takes_markup = true},
    {"dictsort", run_dictsort},
    {"e", run_escape, .takes_markup = true},
    {"escape", run_escape, .takes_markup = true},
    {"first", run_first},
    {"float", run_float},
    {"indent", run_indent},
    {"int", run_int},
    {"items", run_items},
    {"join", run_join},
    {"last", run_last},
    {"length", run_length, .takes_markup = true},
    {"list", run_list},
    {"lower", run_lower},
    {"map", run_map},
    {"max", run_max},
    {"min", run_min},
    {"reject", run_reject},
    {"rejectattr", run_rejectattr},
    {"replace", run_replace},
    {"reverse", run_reverse},
    {"round", run_round},
    {"safe", run_safe, .takes_markup = true},
    {"select", run_select},
    {"selectattr", run_selectattr},
    {"sort", run_sort},
    {"string", run_string, .takes_markup = true},
    {"sum", run_sum},
    {"title", run_title},
    {"tojson", run_tojson, .takes_markup = true},
    {"trim", run_trim},
    {"unique", run_unique},
    {"upper", run_upper},
};

const struct builtin *filter_find(struct str name)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (str_is(name, filters[i].name))
            return &filters[i];
    return NULL;
}
