/* A template's text as tokens.
 *
 * White space goes as transformers sets Jinja: trim_blocks (a line break right after a statement or
 * comment is dropped), lstrip_blocks (spaces before one that begins its line are dropped), "-" takes
 * all white space on its side, "+" keeps what the two would drop.  Every line break is read as \n,
 * and one at the template's end is dropped. */
#ifndef HONE_JINJA_LEXER_H
#define HONE_JINJA_LEXER_H

#include <stdint.h>

#include "jinja/arena.h"

enum token_kind {
    TOKEN_DATA, /* text outside of tags */
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING, /* its escapes resolved */
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_SIGN,
    TOKEN_END,
};

/* Signs of one character are that character. */
enum { SIGN_POWER = 256, SIGN_FLOOR, SIGN_EQ, SIGN_NE, SIGN_LE, SIGN_GE };

struct token {
    enum token_kind kind;
    int sign;
    uint32_t line;
    struct str text;
    int64_t whole;
    double real;
};

struct tokens {
    struct token *data; /* the last one is TOKEN_END */
    size_t n, capacity;
};

/* All in the arena, text too; fails as arena_fail does. */
void lexer_read(struct arena *a, struct tokens *out, const char *text, size_t n);

#endif
