/* What a run leaves behind, in the formats that other tools read: PEFT adapter folders and Hugging Face model folders.
 * Folders are written under a temporary name, synced and renamed (law 7); they hold no time stamps.
 *
 * A head is stored as transformers does, as score.weight.  What these formats have no place for stands beside it in
 * hone.json, and what it knows of its training texts in ood.safetensors (docs/formats.md). */
#ifndef HONE_CHECKPOINT_SAVE_H
#define HONE_CHECKPOINT_SAVE_H

#include "model/adapter.h"
#include "model/ood.h"
#include "util/calibrate.h"

struct head_notes {
    double score_bias;    /* added to every score: centres the scores on a reference set */
    bool davidson;        /* the ties are Davidson's */
    double tie_parameter; /* eta of Rao-Kupper's ties, or ln nu of Davidson's; 0 where there are none */
    size_t n_thresholds;  /* of ratings: P(rating <= c) = sigmoid((threshold[c - 1] - score) / rating_scale) */
    double threshold[20], rating_scale;
    double style[STYLES];         /* the head's */
    char step_separator[STEP_SEPARATOR_MOST + 1]; /* of a process reward model; "": it is none */
    struct calibrator calibrator; /* from leads to probabilities */
    const struct ood *ood;        /* written as ood.safetensors; NULL: there is none.  Not read: ood_open() */
};

/* hone.json in a folder; where there is none, zeros. */
int head_notes_write(const struct head_notes *notes, const char *folder, struct err *err);
int head_notes_read(struct head_notes *notes, const char *folder, struct err *err);

/* ood.safetensors in a folder: 1, 0 where there is none, -1 and a sentence. */
int ood_open(struct ood *o, size_t width, const char *folder, struct err *err);

/* head may be NULL. */
int adapter_save(const struct adapter *a, const struct head *head, const struct head_notes *notes,
                 const char *base_model, const char *folder, struct err *err);

/* The model, with an adapter added to its weights (NULL: none) and a head (NULL: none), as a Hugging Face folder of a type (F32, F16 or
 * BF16), with its tokenizer and template (text_out.h) unless a tokenizer.json cannot hold it. */
int model_save(const struct model *m, const struct adapter *a, const struct head *head, const struct head_notes *notes, enum dtype type,
               const char *folder, struct err *err);

/* The head of an adapter's or a model's folder: 1, 0 where it has none, -1 and a sentence.  The bias is taken from
 * hone.json. */
int head_open(struct head *h, size_t width, const char *folder, struct head_notes *notes, struct err *err);

#endif
