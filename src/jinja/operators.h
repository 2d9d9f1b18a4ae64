/* What +, -, <, in .. make of values, as in Python.  Signs are those of jinja/lexer.h and jinja/ast.h. */
#ifndef HONE_JINJA_OPERATORS_H
#define HONE_JINJA_OPERATORS_H

#include "jinja/value.h"

struct value value_binary(struct arena *a, int sign, struct value x, struct value y); /* + - * / // % ** */
struct value value_unary(struct arena *a, int sign, struct value v);                  /* + - ! (not) */
bool value_compared(struct arena *a, int sign, struct value x, struct value y);       /* == < .. in, not in */

#endif
