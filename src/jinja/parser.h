/* Tokens to a tree.  What is not supported is refused here by name, wherever that can be told. */
#ifndef HONE_JINJA_PARSER_H
#define HONE_JINJA_PARSER_H

#include "jinja/ast.h"
#include "jinja/lexer.h"

struct tree {
    struct nodes body;
    bool has_generation; /* {% generation %} is in it */
};

/* All in the arena; fails as arena_fail does. */
void parser_read(struct arena *a, struct tree *out, const struct tokens *tokens);

#endif
