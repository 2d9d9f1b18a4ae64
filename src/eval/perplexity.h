/* Perplexity of a plain text under a model: how much of its general knowledge of language it kept.
 *
 *     perplexity = exp(mean over tokens of -log p(token | what is before it in its window))
 *
 * The text's tokens are cut into windows of PERPLEXITY_WINDOW without overlap; each stands on its own, so its first token is
 * not predicted.  Windows are also what intervals draw again.  A word is that of util/textstats.h; perplexity a word does not
 * depend on the tokenizer. */
#ifndef HONE_EVAL_PERPLEXITY_H
#define HONE_EVAL_PERPLEXITY_H

#include "model/net.h"
#include "util/stats.h"

enum { PERPLEXITY_WINDOW = 512 };

struct perplexity {
    size_t n;         /* tokens predicted */
    double *nll;      /* (n), nats */
    uint32_t *window; /* (n) */
    size_t words;     /* of the text */
    struct interval token, word;
};

/* On failure there is nothing to release. */
int perplexity_of_text(struct perplexity *p, const struct net *net, const char *text, size_t n, uint32_t seed,
                       struct err *err);
int perplexity_of_file(struct perplexity *p, const struct net *net, const char *path, uint32_t seed, struct err *err);
void perplexity_release(struct perplexity *p);

/* a's perplexity / b's, paired by window: both are of one text and one tokenizer. */
struct interval perplexity_ratio(const struct perplexity *a, const struct perplexity *b, uint32_t seed);

#endif
