/* A net is what is run and trained: a model, perhaps an adapter, perhaps a scalar head.
 *
 *     batch -> net_forward -> net_logprobs, net_scores -> objective -> net_backward -> gradients
 *
 * Policy, reference, reward models and critic are nets over one frozen model (law 4).  Gradients are summed into
 * blocks in the order of the batch's rows, so that micro-batches one after the other give the bits of one batch
 * (law 2). */
#ifndef HONE_MODEL_NET_H
#define HONE_MODEL_NET_H

#include "model/batch.h"
#include "nn/logprob.h"

struct net {
    const struct model *model;
    const struct adapter *adapter; /* NULL: none */
    const struct head *head;       /* NULL: none */
    const struct ood *ood;         /* what a reward model knows of its training texts (model/ood.h); NULL: nothing */
};

/* Blocks of the layout of model->params, adapter->params, head->params; NULL where that part is not trained. The
 * embedding as an input has a block of its own until net_gradients_finish, for the sake of the order of sums. */
struct gradients {
    float *model, *embed, *adapter, *head;
};

int gradients_init(struct gradients *g, const struct net *net, bool train_model, bool train_adapter, bool train_head,
                   struct err *err);
void gradients_clear(struct gradients *g, const struct net *net);
void gradients_finish(struct gradients *g, const struct net *net);
void gradients_release(struct gradients *g);

struct workspace;

/* What a forward keeps for a backward.  Gradients have the same bits with KEEP_ALL and KEEP_INPUTS. */
enum keep {
    KEEP_NOTHING, /* no backward will come */
    KEEP_ALL,     /* the activations of all layers */
    KEEP_INPUTS,  /* what goes into each layer: the backward computes the layer's forward again (Chen et al. 2016) */
};

/* Working memory for batches of models of this shape.  It grows when a larger batch comes. */
struct workspace *workspace_new(const struct config *c, enum keep keep, struct err *err);
void workspace_free(struct workspace *w);

/* Run the trunk.  cache: a KV cache's data, (layers, cache_tiles, kv_tile_floats), or NULL: the batch's own. */
int net_forward(struct workspace *w, const struct net *net, const struct batch *b, float *cache, size_t cache_tiles,
                struct err *err);

/* The same in two parts, for nets over one model that differ in their last layers only: the layers below `split` run once,
 * net_forward_rest() goes on from there for each net, with the bits of its own net_forward().  No net has an adapter below
 * `split`; w keeps nothing for a backward; the batch stays as it is (its stem may be another net's, of the same tokens). */
int net_forward_shared(struct workspace *w, const struct net *net, const struct batch *b, size_t split, struct err *err);
int net_forward_rest(struct workspace *w, const struct net *net, const struct batch *b, size_t split, struct err *err);

/* After net_forward: log-probs of the targets (sorted by row of the batch).  rows: what is known of each target's
 * row (n), may be NULL.  grad: net_backward will be called with dlogp. */
int net_logprobs(float *logp, struct logprob_row *rows, struct workspace *w, const struct net *net,
                 const struct target *targets, size_t n, float temperature, bool grad, struct err *err);

/* After net_forward: the head's scores at rows of the batch (in increasing order). */
void net_scores(float *scores, struct workspace *w, const struct net *net, const size_t *rows, size_t n);

/* The normalised last hidden state at a row. */
const float *net_hidden(const struct workspace *w, size_t row);

/* Sum the gradients of dlogp (for the targets of net_logprobs; NULL: none) and dscores (for rows; NULL: none). */
void net_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                  const float *dlogp, const float *dscores, const size_t *score_rows, size_t n_scores);

#endif
