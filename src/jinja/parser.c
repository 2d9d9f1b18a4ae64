#include "jinja/parser.h"

#include "jinja/builtins.h"

/* Parentheses in parentheses, blocks in blocks. */
#define MAX_DEPTH 200

struct parser {
    struct arena *arena;
    struct tree *tree;
    const struct token *at; /* the next one */
    size_t depth;
    size_t loops; /* around what is read, up to the next macro */
};

static struct node *expression(struct parser *p);
static struct node *tuple(struct parser *p, bool choice, const char *end);
static void statements(struct parser *p, struct nodes *out, const char *const *ends);

static struct node *node_new(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_zeroed(p->arena, sizeof *n);
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

static void nodes_add(struct parser *p, struct nodes *list, struct node *n)
{
    list->data = arena_grow(p->arena, list->data, list->n, &list->capacity, sizeof *list->data);
    list->data[list->n++] = n;
}

static void enter(struct parser *p)
{
    p->arena->line = p->at->line;
    if (++p->depth > MAX_DEPTH)
        arena_fail(p->arena, "nested more than %d deep", MAX_DEPTH);
}

static void advance(struct parser *p)
{
    if (p->at->kind != TOKEN_END)
        p->at++;
    p->arena->line = p->at->line;
}

static bool is_sign(const struct parser *p, int sign)
{
    return p->at->kind == TOKEN_SIGN && p->at->sign == sign;
}

static bool is_name(const struct parser *p, const char *name)
{
    return p->at->kind == TOKEN_NAME && str_is(p->at->text, name);
}

static bool take_sign(struct parser *p, int sign)
{
    bool there = is_sign(p, sign);
    if (there)
        advance(p);
    return there;
}

static bool take_name(struct parser *p, const char *name)
{
    bool there = is_name(p, name);
    if (there)
        advance(p);
    return there;
}

_Noreturn static void unexpected(struct parser *p, const char *wanted)
{
    static const char *const kinds[] = {"text", "'{{'", "the tag's end",     "'{%'", "the tag's end", "", "a string", "",
                                        "",     "",     "the template's end"};
    const struct token *t = p->at;
    if (t->kind == TOKEN_NAME || t->kind == TOKEN_INT || t->kind == TOKEN_FLOAT || t->kind == TOKEN_SIGN)
        arena_fail(p->arena, "%s is expected, found '%.*s'", wanted, STR_ARG(t->text));
    arena_fail(p->arena, "%s is expected, found %s", wanted, kinds[t->kind]);
}

static void need_sign(struct parser *p, int sign, const char *wanted)
{
    if (!take_sign(p, sign))
        unexpected(p, wanted);
}

static struct str need_name(struct parser *p, const char *wanted)
{
    if (p->at->kind != TOKEN_NAME)
        unexpected(p, wanted);
    struct str name = p->at->text;
    advance(p);
    return name;
}

static void need_end(struct parser *p)
{
    if (p->at->kind != TOKEN_BLOCK_END)
        unexpected(p, "the end of the statement");
    advance(p);
}

/* ---- expressions, from the loosest binding to the tightest ---- */

static void arguments(struct parser *p, struct nodes *out)
{
    bool named = false, first = true;
    need_sign(p, '(', "'('");
    while (!is_sign(p, ')')) {
        if (!first)
            need_sign(p, ',', "',' or ')'");
        first = false;
        if (is_sign(p, ')'))
            break;
        struct node *arg = node_new(p, NODE_ARG);
        if (is_sign(p, '*') || is_sign(p, SIGN_POWER)) {
            arg->sign = p->at->sign;
            advance(p);
        } else if (p->at->kind == TOKEN_NAME && p->at[1].kind == TOKEN_SIGN && p->at[1].sign == '=') {
            arg->name = p->at->text;
            advance(p);
            advance(p);
        }
        named = named || arg->name.n || arg->sign;
        if (named && !arg->name.n && !arg->sign)
            arena_fail(p->arena, "an argument without a name stands after one with a name");
        arg->a = expression(p);
        nodes_add(p, out, arg);
    }
    advance(p);
}

/* map('upper'), select('string'): the filter or test that a string names. */
static void check_named_builtin(struct parser *p, const struct node *n)
{
    size_t at = str_is(n->name, "selectattr") || str_is(n->name, "rejectattr");
    bool is_map = str_is(n->name, "map");
    if (!at && !is_map && !str_is(n->name, "select") && !str_is(n->name, "reject"))
        return;
    if (n->list.n <= at || n->list.data[at]->name.n || n->list.data[at]->a->kind != NODE_CONST ||
        n->list.data[at]->a->value.kind != VALUE_STRING)
        return;
    struct str name = n->list.data[at]->a->value.str;
    if (!(is_map ? filter_find(name) : test_find(name)))
        arena_fail(p->arena, "the %s '%.*s' is not supported", is_map ? "filter" : "test", STR_ARG(name));
}

/* After '|', or at the name of a first one. */
static struct node *filter(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, NODE_FILTER);
    n->a = a;
    n->name = need_name(p, "the name of a filter");
    n->builtin = filter_find(n->name);
    if (!n->builtin)
        arena_fail(p->arena, "the filter '%.*s' is not supported", STR_ARG(n->name));
    if (is_sign(p, '('))
        arguments(p, &n->list);
    check_named_builtin(p, n);
    return n;
}

static struct node *primary(struct parser *p);
static struct node *postfix(struct parser *p, struct node *n);

static struct node *test(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, NODE_TEST);
    bool negated = take_name(p, "not");
    n->a = a;
    n->name = need_name(p, "the name of a test");
    n->builtin = test_find(n->name);
    if (!n->builtin)
        arena_fail(p->arena, "the test '%.*s' is not supported", STR_ARG(n->name));
    if (is_sign(p, '(')) {
        arguments(p, &n->list);
    } else if ((p->at->kind == TOKEN_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and")) ||
               p->at->kind == TOKEN_STRING || p->at->kind == TOKEN_INT || p->at->kind == TOKEN_FLOAT || is_sign(p, '[') ||
               is_sign(p, '{')) {
        if (is_name(p, "is"))
            arena_fail(p->arena, "a test stands after a test: put the first in brackets");
        struct node *arg = node_new(p, NODE_ARG);
        arg->a = postfix(p, primary(p));
        nodes_add(p, &n->list, arg);
    }
    if (!negated)
        return n;
    struct node *not = node_new(p, NODE_UNARY);
    not ->sign = '!';
    not ->a = n;
    return not ;
}

static struct node *const_node(struct parser *p, struct value v)
{
    struct node *n = node_new(p, NODE_CONST);
    n->value = v;
    advance(p);
    return n;
}

static struct node *strings(struct parser *p)
{
    struct node *n = node_new(p, NODE_CONST);
    struct text all = {.arena = p->arena};
    for (; p->at->kind == TOKEN_STRING; advance(p))
        text_str(&all, p->at->text);
    n->value = value_str(text_done(&all));
    return n;
}

static struct node *list(struct parser *p)
{
    struct node *n = node_new(p, NODE_LIST);
    advance(p);
    while (!is_sign(p, ']')) {
        if (n->list.n)
            need_sign(p, ',', "',' or ']'");
        if (is_sign(p, ']'))
            break;
        nodes_add(p, &n->list, expression(p));
    }
    advance(p);
    return n;
}

static struct node *dict(struct parser *p)
{
    struct node *n = node_new(p, NODE_DICT);
    advance(p);
    while (!is_sign(p, '}')) {
        if (n->list.n)
            need_sign(p, ',', "',' or '}'");
        if (is_sign(p, '}'))
            break;
        nodes_add(p, &n->list, expression(p));
        need_sign(p, ':', "':'");
        nodes_add(p, &n->list, expression(p));
    }
    advance(p);
    return n;
}

static struct node *primary(struct parser *p)
{
    static const struct {
        const char *name;
        struct value value;
    } constants[] = {
        {"true", {.kind = VALUE_BOOL, .truth = true}},
        {"True", {.kind = VALUE_BOOL, .truth = true}},
        {"false", {.kind = VALUE_BOOL, .truth = false}},
        {"False", {.kind = VALUE_BOOL, .truth = false}},
        {"none", {.kind = VALUE_NONE}},
        {"None", {.kind = VALUE_NONE}},
    };
    struct node *n;
    enter(p);
    switch (p->at->kind) {
    case TOKEN_NAME:
        for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
            if (is_name(p, constants[i].name)) {
                p->depth--;
                return const_node(p, constants[i].value);
            }
        n = node_new(p, NODE_NAME);
        n->name = p->at->text;
        advance(p);
        break;
    case TOKEN_STRING:
        n = strings(p);
        break;
    case TOKEN_INT:
        n = const_node(p, value_int(p->at->whole));
        break;
    case TOKEN_FLOAT:
        n = const_node(p, value_float(p->at->real));
        break;
    default:
        if (take_sign(p, '(')) {
            if (is_sign(p, ')'))
                n = node_new(p, NODE_TUPLE);
            else
                n = tuple(p, true, NULL);
            need_sign(p, ')', "')'");
        } else if (is_sign(p, '[')) {
            n = list(p);
        } else if (is_sign(p, '{')) {
            n = dict(p);
        } else {
            unexpected(p, "an expression");
        }
    }
    p->depth--;
    return n;
}

/* One part of what stands in a[ .. ]. */
static struct node *subscript(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, NODE_ITEM), **parts[] = {&n->b, &n->c, &n->d};
    n->a = a;
    size_t at = 0;
    while (!is_sign(p, ']')) {
        if (is_sign(p, ',')) {
            arena_fail(p->arena, "an index with a ',' in it is not supported");
        } else if (take_sign(p, ':')) {
            n->kind = NODE_SLICE;
            if (++at > 2)
                unexpected(p, "']'");
        } else if (*parts[at]) {
            unexpected(p, "']'");
        } else {
            *parts[at] = expression(p);
        }
    }
    if (n->kind == NODE_ITEM && !n->b)
        unexpected(p, "an expression");
    advance(p);
    return n;
}

static struct node *call(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, NODE_CALL);
    n->a = a;
    arguments(p, &n->list);
    return n;
}

static struct node *postfix(struct parser *p, struct node *n)
{
    for (;;) {
        if (take_sign(p, '.')) {
            struct node *a = n;
            n = node_new(p, p->at->kind == TOKEN_INT ? NODE_ITEM : NODE_ATTR);
            n->a = a;
            if (n->kind == NODE_ITEM)
                n->b = const_node(p, value_int(p->at->whole));
            else
                n->name = need_name(p, "a name");
        } else if (take_sign(p, '[')) {
            n = subscript(p, n);
        } else if (is_sign(p, '(')) {
            n = call(p, n);
        } else {
            return n;
        }
    }
}

static struct node *unary(struct parser *p, bool with_filters)
{
    struct node *n;
    enter(p);
    if (is_sign(p, '-') || is_sign(p, '+')) {
        n = node_new(p, NODE_UNARY);
        n->sign = p->at->sign;
        advance(p);
        n->a = unary(p, false);
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    while (with_filters) {
        if (take_sign(p, '|'))
            n = filter(p, n);
        else if (take_name(p, "is"))
            n = test(p, n);
        else if (is_sign(p, '('))
            n = call(p, n);
        else
            break;
    }
    p->depth--;
    return n;
}

static struct node *binary(struct parser *p, struct node *a, struct node *(*operand)(struct parser *))
{
    struct node *n = node_new(p, NODE_BINARY);
    n->sign = p->at->sign;
    n->a = a;
    advance(p);
    n->b = operand(p);
    return n;
}

static struct node *operand(struct parser *p)
{
    return unary(p, true);
}

static struct node *power(struct parser *p)
{
    struct node *n = operand(p);
    while (is_sign(p, SIGN_POWER))
        n = binary(p, n, operand);
    return n;
}

static struct node *product(struct parser *p)
{
    struct node *n = power(p);
    while (is_sign(p, '*') || is_sign(p, '/') || is_sign(p, SIGN_FLOOR) || is_sign(p, '%'))
        n = binary(p, n, power);
    return n;
}

static struct node *concat(struct parser *p)
{
    struct node *n = product(p);
    if (!is_sign(p, '~'))
        return n;
    struct node *all = node_new(p, NODE_CONCAT);
    nodes_add(p, &all->list, n);
    while (take_sign(p, '~'))
        nodes_add(p, &all->list, product(p));
    return all;
}

static struct node *sum(struct parser *p)
{
    struct node *n = concat(p);
    while (is_sign(p, '+') || is_sign(p, '-'))
        n = binary(p, n, concat);
    return n;
}

static struct node *comparison(struct parser *p)
{
    struct node *n = sum(p), *all = NULL;
    for (;;) {
        int sign = p->at->kind == TOKEN_SIGN ? p->at->sign : 0;
        bool two = is_name(p, "not") && p->at[1].kind == TOKEN_NAME && str_is(p->at[1].text, "in");
        if (is_name(p, "in"))
            sign = SIGN_IN;
        else if (two)
            sign = SIGN_NOT_IN;
        else if (sign != '<' && sign != '>' && sign != SIGN_EQ && sign != SIGN_NE && sign != SIGN_LE && sign != SIGN_GE)
            break;
        if (!all) {
            all = node_new(p, NODE_COMPARE);
            all->a = n;
        }
        struct node *o = node_new(p, NODE_OPERAND);
        o->sign = sign;
        advance(p);
        if (two)
            advance(p);
        o->a = sum(p);
        nodes_add(p, &all->list, o);
    }
    return all ? all : n;
}

static struct node *negation(struct parser *p)
{
    if (!is_name(p, "not"))
        return comparison(p);
    struct node *n = node_new(p, NODE_UNARY);
    enter(p);
    n->sign = '!';
    advance(p);
    n->a = negation(p);
    p->depth--;
    return n;
}

static struct node *conjunction(struct parser *p)
{
    struct node *n = negation(p);
    while (is_name(p, "and")) {
        struct node *both = node_new(p, NODE_AND);
        advance(p);
        both->a = n;
        both->b = negation(p);
        n = both;
    }
    return n;
}

static struct node *disjunction(struct parser *p)
{
    struct node *n = conjunction(p);
    while (is_name(p, "or")) {
        struct node *either = node_new(p, NODE_OR);
        advance(p);
        either->a = n;
        either->b = conjunction(p);
        n = either;
    }
    return n;
}

static struct node *expression(struct parser *p)
{
    enter(p);
    struct node *n = disjunction(p);
    while (is_name(p, "if")) {
        struct node *choice = node_new(p, NODE_CHOICE);
        advance(p);
        choice->a = n;
        choice->b = disjunction(p);
        if (take_name(p, "else"))
            choice->c = expression(p);
        n = choice;
    }
    p->depth--;
    return n;
}

/* One expression, or several with commas: a tuple.  `end`: a name that ends it. */
static struct node *tuple(struct parser *p, bool choice, const char *end)
{
    struct node *n = choice ? expression(p) : disjunction(p);
    if (!is_sign(p, ','))
        return n;
    struct node *all = node_new(p, NODE_TUPLE);
    nodes_add(p, &all->list, n);
    while (take_sign(p, ',')) {
        if (p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END || is_sign(p, ')') || (end && is_name(p, end)))
            break;
        nodes_add(p, &all->list, choice ? expression(p) : disjunction(p));
    }
    return all;
}

/* ---- statements ---- */

/* What can be assigned to: a name, a namespace's attribute (where that is allowed), or a tuple. */
static struct node *target(struct parser *p, bool attributes)
{
    struct node *all = node_new(p, NODE_TUPLE);
    bool is_tuple = false;
    enter(p);
    for (;;) {
        struct node *n;
        if (take_sign(p, '(')) {
            n = target(p, attributes);
            need_sign(p, ')', "')'");
        } else {
            n = node_new(p, NODE_NAME);
            n->name = need_name(p, "the name of a variable");
            static const char *const reserved[] = {"true", "True", "false", "False", "none", "None"};
            for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
                if (str_is(n->name, reserved[i]))
                    arena_fail(p->arena, "'%s' cannot be assigned to", reserved[i]);
            if (attributes && take_sign(p, '.')) {
                struct node *attr = node_new(p, NODE_ATTR);
                attr->a = n;
                attr->name = need_name(p, "the name of an attribute");
                n = attr;
            }
        }
        nodes_add(p, &all->list, n);
        if (!take_sign(p, ','))
            break;
        is_tuple = true;
    }
    p->depth--;
    return is_tuple ? all : all->list.data[0];
}

/* The names that may end a body. */
#define ENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct node *for_statement(struct parser *p)
{
    struct node *n = node_new(p, NODE_FOR);
    n->a = target(p, false);
    if (!take_name(p, "in"))
        unexpected(p, "'in'");
    n->b = tuple(p, false, "recursive");
    if (take_name(p, "if"))
        n->c = expression(p);
    if (is_name(p, "recursive"))
        arena_fail(p->arena, "a recursive for is not supported");
    need_end(p);
    p->loops++;
    statements(p, &n->list, ENDS("else", "endfor"));
    p->loops--;
    if (take_name(p, "else")) {
        need_end(p);
        statements(p, &n->more, ENDS("endfor"));
    }
    advance(p);
    return n;
}

static struct node *if_statement(struct parser *p)
{
    struct node *first = NULL, **next = &first;
    for (;;) {
        struct node *n = *next = node_new(p, NODE_IF);
        n->a = tuple(p, false, NULL);
        need_end(p);
        statements(p, &n->list, ENDS("elif", "else", "endif"));
        next = &n->next;
        if (take_name(p, "elif"))
            continue;
        if (take_name(p, "else")) {
            need_end(p);
            *next = node_new(p, NODE_IF);
            statements(p, &(*next)->list, ENDS("endif"));
        }
        advance(p);
        return first;
    }
}

static struct node *set_statement(struct parser *p)
{
    struct node *n = node_new(p, NODE_SET);
    n->a = target(p, true);
    if (take_sign(p, '=')) {
        n->b = tuple(p, true, NULL);
        return n;
    }
    n->kind = NODE_SET_BLOCK;
    while (take_sign(p, '|'))
        n->b = filter(p, n->b);
    need_end(p);
    statements(p, &n->list, ENDS("endset"));
    advance(p);
    return n;
}

static struct node *with_statement(struct parser *p)
{
    struct node *n = node_new(p, NODE_WITH);
    while (p->at->kind != TOKEN_BLOCK_END) {
        if (n->more.n)
            need_sign(p, ',', "','");
        struct node *set = node_new(p, NODE_SET);
        set->a = node_new(p, NODE_NAME);
        set->a->name = need_name(p, "the name of a variable");
        need_sign(p, '=', "'='");
        set->b = expression(p);
        nodes_add(p, &n->more, set);
    }
    need_end(p);
    statements(p, &n->list, ENDS("endwith"));
    advance(p);
    return n;
}

static struct node *macro_statement(struct parser *p)
{
    struct node *n = node_new(p, NODE_MACRO);
    n->name = need_name(p, "the name of the macro");
    need_sign(p, '(', "'('");
    while (!is_sign(p, ')')) {
        if (n->more.n)
            need_sign(p, ',', "',' or ')'");
        struct node *parameter = node_new(p, NODE_ARG);
        parameter->name = need_name(p, "the name of a parameter");
        if (take_sign(p, '='))
            parameter->a = expression(p);
        else if (n->more.n && n->more.data[n->more.n - 1]->a)
            arena_fail(p->arena, "a parameter without a default stands after one with a default");
        nodes_add(p, &n->more, parameter);
    }
    advance(p);
    need_end(p);
    size_t loops = p->loops;
    p->loops = 0;
    statements(p, &n->list, ENDS("endmacro"));
    p->loops = loops;
    advance(p);
    return n;
}

static struct node *generation_statement(struct parser *p)
{
    struct node *n = node_new(p, NODE_GENERATION);
    size_t loops = p->loops;
    need_end(p);
    p->loops = 0;
    statements(p, &n->list, ENDS("endgeneration"));
    p->loops = loops;
    advance(p);
    p->tree->has_generation = true;
    return n;
}

static struct node *jump_statement(struct parser *p, enum node_kind kind)
{
    if (!p->loops)
        arena_fail(p->arena, "%s stands outside of a loop", kind == NODE_BREAK ? "break" : "continue");
    return node_new(p, kind);
}

static struct node *statement(struct parser *p)
{
    struct str name = need_name(p, "the name of a statement");
    if (str_is(name, "for"))
        return for_statement(p);
    if (str_is(name, "if"))
        return if_statement(p);
    if (str_is(name, "set"))
        return set_statement(p);
    if (str_is(name, "with"))
        return with_statement(p);
    if (str_is(name, "macro"))
        return macro_statement(p);
    if (str_is(name, "generation"))
        return generation_statement(p);
    if (str_is(name, "break"))
        return jump_statement(p, NODE_BREAK);
    if (str_is(name, "continue"))
        return jump_statement(p, NODE_CONTINUE);
    if (str_is(name, "print")) {
        struct node *n = node_new(p, NODE_PRINT);
        n->a = tuple(p, true, NULL);
        return n;
    }
    arena_fail(p->arena, "the statement '%.*s' is not supported here", STR_ARG(name));
}

/* A body up to "{% NAME": one of `ends` (NULL: to the template's end), which is then the next. */
static void statements(struct parser *p, struct nodes *out, const char *const *ends)
{
    enter(p);
    while (p->at->kind != TOKEN_END) {
        struct node *n = node_new(p, NODE_TEXT);
        if (p->at->kind == TOKEN_DATA) {
            n->name = p->at->text;
            advance(p);
        } else if (p->at->kind == TOKEN_PRINT_BEGIN) {
            n->kind = NODE_PRINT;
            advance(p);
            n->a = tuple(p, true, NULL);
            if (p->at->kind != TOKEN_PRINT_END)
                unexpected(p, "'}}'");
            advance(p);
        } else {
            advance(p);
            for (size_t i = 0; ends && ends[i]; i++)
                if (is_name(p, ends[i])) {
                    p->depth--;
                    return;
                }
            n = statement(p);
            need_end(p);
        }
        nodes_add(p, out, n);
    }
    if (ends) {
        size_t last = 0;
        while (ends[last + 1])
            last++;
        arena_fail(p->arena, "{%% %s %%} is missing", ends[last]);
    }
    p->depth--;
}

void parser_read(struct arena *a, struct tree *out, const struct tokens *tokens)
{
    struct parser p = {.arena = a, .tree = out, .at = tokens->data};
    *out = (struct tree){0};
    statements(&p, &out->body, NULL);
}
