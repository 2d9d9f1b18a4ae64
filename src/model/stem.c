#include "model/stem.h"

#include <string.h>

#include "model/workspace.h"
#include "util/mem.h"

void stem_clear(struct stem *s)
{
    s->n = 0;
    batch_clear(&s->batch);
}

void stem_release(struct stem *s)
{
    batch_release(&s->batch);
    workspace_free(s->workspace);
    mem_block_free(s->kv);
    mem_block_free(s->dk);
    *s = (struct stem){0};
}

/* At least `need` floats, where there are `have`. */
static int reserve(float **block, size_t *have, size_t need, const char *what, struct err *err)
{
    if (need <= *have)
        return 0;
    mem_block_free(*block);
    *have = 0;
    *block = mem_block(need, sizeof(float), what, err);
    if (!*block)
        return -1;
    *have = need;
    return 0;
}

int stem_plant(struct stem *s, const struct net *net, const int32_t *tokens, size_t n, enum keep keep, struct err *err)
{
    const struct config *c = &net->model->config;
    struct attention_shape shape = config_attention(c, 0);
    bool grad = keep != KEEP_NOTHING;
    size_t half = c->layers * n * c->kv_heads * c->head_dim;
    stem_clear(s);
    if (s->workspace && (s->workspace->config != c || (grad && s->workspace->keep != keep))) {
        workspace_free(s->workspace);
        s->workspace = NULL;
    }
    if (!s->workspace)
        s->workspace = workspace_new(c, keep, err);
    batch_add(&s->batch, tokens, n, -1);
    if (reserve(&s->kv, &s->kv_floats, c->layers * s->batch.n_tiles * kv_tile_floats(&shape), "keys and values", err) ||
        (grad && reserve(&s->dk, &s->grad_floats, 2 * half, "gradients of keys and values", err)) ||
        net_forward(s->workspace, net, &s->batch, s->kv, s->batch.n_tiles, err))
        return -1;
    if (grad) {
        s->dv = s->dk + half;
        memset(s->dk, 0, 2 * half * sizeof(float));
    }
    s->n = n;
    return 0;
}

void stem_backward(struct gradients *g, struct stem *s, const struct net *net)
{
    if (s->n == 0)
        return;
    memset(s->workspace->dx, 0, s->batch.n_rows * net->model->config.width * sizeof(float));
    trunk_backward(g, s->workspace, net, &s->batch, s);
}
