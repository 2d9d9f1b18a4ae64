#include "jinja/operators.h"

#include <math.h>

#include "jinja/ast.h"
#include "jinja/builtins.h"
#include "jinja/lexer.h"

_Noreturn static void no_operator(struct arena *a, const char *sign, struct value x, struct value y)
{
    struct str what = x.kind == VALUE_UNDEFINED ? x.str : y.str;
    if (x.kind == VALUE_UNDEFINED || y.kind == VALUE_UNDEFINED)
        arena_fail(a, "'%.*s' is undefined", STR_ARG(what));
    arena_fail(a, "%s is not supported between a %s and a %s", sign, value_type(x), value_type(y));
}

static const char *sign_text(int sign)
{
    static const char *const texts[] = {"+", "-", "*", "/", "%", "**", "//"};
    static const int signs[] = {'+', '-', '*', '/', '%', SIGN_POWER, SIGN_FLOOR};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (signs[i] == sign)
            return texts[i];
    return "the operator";
}

static int64_t as_whole(struct value v)
{
    return v.kind == VALUE_BOOL ? v.truth : v.whole;
}

static bool whole_power(int64_t *out, int64_t x, int64_t n)
{
    int64_t result = 1;
    while (n > 0) {
        if (n & 1 && __builtin_mul_overflow(result, x, &result))
            return false;
        n >>= 1;
        if (n && __builtin_mul_overflow(x, x, &x))
            return false;
    }
    *out = result;
    return true;
}

static struct value whole_result(struct arena *a, int sign, int64_t x, int64_t y)
{
    int64_t r = 0;
    bool fits = true;
    switch (sign) {
    case '+':
        fits = !__builtin_add_overflow(x, y, &r);
        break;
    case '-':
        fits = !__builtin_sub_overflow(x, y, &r);
        break;
    case '*':
        fits = !__builtin_mul_overflow(x, y, &r);
        break;
    case SIGN_POWER:
        fits = whole_power(&r, x, y);
        break;
    default: /* // and %, rounded towards minus infinity */
        if (y == 0)
            arena_fail(a, "a division by zero");
        if (y == -1) {
            fits = sign == '%' || x != INT64_MIN;
            r = sign == '%' || !fits ? 0 : -x;
        } else {
            int64_t rest = x % y, whole = x / y;
            if (rest && (rest < 0) != (y < 0)) {
                rest += y;
                whole--;
            }
            r = sign == '%' ? rest : whole;
        }
    }
    if (!fits)
        arena_fail(a, "the result of %s has more than 64 bits", sign_text(sign));
    return value_int(r);
}

static double floored(double x, double y, bool rest)
{
    double mod = fmod(x, y);
    double whole = (x - mod) / y;
    if (mod != 0) {
        if ((y < 0) != (mod < 0)) {
            mod += y;
            whole -= 1;
        }
    } else {
        mod = copysign(0, y);
    }
    if (rest)
        return mod;
    if (whole == 0)
        return copysign(0, x / y);
    double below = floor(whole);
    return whole - below > 0.5 ? below + 1 : below;
}

static struct value real_result(struct arena *a, int sign, double x, double y)
{
    switch (sign) {
    case '+':
        return value_float(x + y);
    case '-':
        return value_float(x - y);
    case '*':
        return value_float(x * y);
    case SIGN_POWER:
        if ((x < 0 && y != floor(y)) || (x == 0 && y < 0))
            arena_fail(a, "the power of these two is no real number");
        return value_float(pow(x, y));
    }
    if (y == 0)
        arena_fail(a, "a division by zero");
    if (sign == '/')
        return value_float(x / y);
    return value_float(floored(x, y, sign == '%'));
}

static struct value repeated(struct arena *a, struct value v, int64_t times)
{
    if (v.kind == VALUE_STRING) {
        struct text out = {.arena = a};
        for (int64_t i = 0; i < times && v.str.n; i++)
            text_str(&out, v.str);
        return value_str(text_done(&out));
    }
    struct value out = value_list(a, v.list->form);
    for (int64_t i = 0; i < times && v.list->n; i++)
        for (size_t k = 0; k < v.list->n; k++)
            list_add(a, out.list, v.list->items[k]);
    return out;
}

static struct value joined(struct arena *a, struct value x, struct value y)
{
    if (x.kind == VALUE_STRING) {
        struct text out = {.arena = a};
        text_str(&out, x.str);
        text_str(&out, y.str);
        return value_str(text_done(&out));
    }
    struct value out = value_list(a, x.list->form);
    for (size_t i = 0; i < x.list->n; i++)
        list_add(a, out.list, x.list->items[i]);
    for (size_t i = 0; i < y.list->n; i++)
        list_add(a, out.list, y.list->items[i]);
    return out;
}

static bool is_sequence(struct value v)
{
    return v.kind == VALUE_STRING || (v.kind == VALUE_LIST && v.list->form <= LIST_TUPLE);
}

struct value value_binary(struct arena *a, int sign, struct value x, struct value y)
{
    must_be_plain(a, x, sign_text(sign));
    must_be_plain(a, y, sign_text(sign));
    bool numbers = value_is_number(x) && value_is_number(y);
    if (numbers && x.kind != VALUE_FLOAT && y.kind != VALUE_FLOAT && sign != '/' && !(sign == SIGN_POWER && as_whole(y) < 0))
        return whole_result(a, sign, as_whole(x), as_whole(y));
    if (numbers)
        return real_result(a, sign, value_real(x), value_real(y));
    if (sign == '+' && is_sequence(x) && x.kind == y.kind && (x.kind == VALUE_STRING || x.list->form == y.list->form))
        return joined(a, x, y);
    if (sign == '*' && is_sequence(x) && (y.kind == VALUE_INT || y.kind == VALUE_BOOL))
        return repeated(a, x, as_whole(y));
    if (sign == '*' && is_sequence(y) && (x.kind == VALUE_INT || x.kind == VALUE_BOOL))
        return repeated(a, y, as_whole(x));
    no_operator(a, sign_text(sign), x, y);
}

struct value value_unary(struct arena *a, int sign, struct value v)
{
    if (sign == '!')
        return value_bool(!value_truth(v));
    if (v.kind == VALUE_FLOAT)
        return value_float(sign == '-' ? -v.real : v.real);
    if (!value_is_number(v))
        no_operator(a, sign_text(sign), v, v);
    return sign == '-' ? whole_result(a, '-', 0, as_whole(v)) : value_int(as_whole(v));
}

bool value_compared(struct arena *a, int sign, struct value x, struct value y)
{
    bool nan;
    switch (sign) {
    case SIGN_EQ:
        return value_equal(a, x, y);
    case SIGN_NE:
        return !value_equal(a, x, y);
    case SIGN_IN:
        return value_contains(a, y, x);
    case SIGN_NOT_IN:
        return !value_contains(a, y, x);
    }
    int order = value_compare(a, x, y, &nan);
    return !nan && (sign == '<' ? order < 0 : sign == '>' ? order > 0 : sign == SIGN_LE ? order <= 0 : order >= 0);
}
