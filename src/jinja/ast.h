/* A template as a tree: what the parser makes and the evaluator goes through. */
#ifndef HONE_JINJA_AST_H
#define HONE_JINJA_AST_H

#include "jinja/value.h"

enum node_kind {
    /* Expressions.  a, b, c: operands; list: items or arguments. */
    NODE_CONST,  /* value */
    NODE_NAME,   /* name */
    NODE_ATTR,   /* a.name */
    NODE_ITEM,   /* a[b] */
    NODE_SLICE,  /* a[b : c : d]; each of b, c, d may be NULL */
    NODE_CALL,   /* a(list of NODE_ARG) */
    NODE_FILTER, /* a | filter(list); a is NULL for what a set block captured */
    NODE_TEST,   /* a is test(list) */
    NODE_ARG,    /* a; name where it has one; sign '*' or SIGN_POWER before it, else 0 */
    NODE_UNARY,  /* sign '+', '-' or '!' (not) */
    NODE_BINARY, /* sign: an arithmetic one */
    NODE_CONCAT, /* list with ~ between */
    NODE_AND,
    NODE_OR,
    NODE_COMPARE, /* a, then list of NODE_OPERAND */
    NODE_OPERAND, /* sign: a comparison, or one of the two below; a */
    NODE_CHOICE,  /* a if b else c; c may be NULL */
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT, /* list: keys and values in turn */

    /* Statements.  list: the body. */
    NODE_TEXT,      /* name */
    NODE_PRINT,     /* a */
    NODE_FOR,       /* for a in b if c; more: else */
    NODE_IF,        /* a NULL: else; next: elif or else */
    NODE_SET,       /* a = b: a NODE_NAME, NODE_ATTR (of a namespace) or NODE_TUPLE of these */
    NODE_SET_BLOCK, /* a = body through the filters of b (NULL: none) */
    NODE_WITH,      /* more: NODE_SETs */
    NODE_MACRO,     /* name; more: parameters, NODE_ARG with a as the default or NULL */
    NODE_GENERATION,
    NODE_BREAK,
    NODE_CONTINUE,
};

enum { SIGN_IN = 300, SIGN_NOT_IN };

struct nodes {
    struct node **data;
    size_t n, capacity;
};

struct node {
    enum node_kind kind;
    int sign;
    uint32_t line;
    struct str name;
    struct value value;
    struct node *a, *b, *c, *d, *next;
    struct nodes list, more;
    const struct builtin *builtin; /* of filters and tests */
};

#endif
