/* Rotary frequencies, and the ways in which models stretch them to longer texts. */
#ifndef HONE_MODEL_ROTARY_H
#define HONE_MODEL_ROTARY_H

#include <stdbool.h>
#include <stddef.h>

enum rope_scaling {
    ROPE_PLAIN,
    ROPE_LINEAR,  /* all by one factor (Chen et al. 2023, arXiv:2306.15595) */
    ROPE_DYNAMIC, /* stretched only by texts beyond the model's positions, which hone does not take: the plain ones */
    ROPE_LLAMA3,  /* long waves by a factor, short ones not, a ramp between (Llama 3.1) */
    ROPE_YARN,    /* the same by the turns of a wave, and a larger amplitude (Peng et al. 2023, arXiv:2309.00071) */
    ROPE_LONG,    /* each pair by a factor of its own, one list for texts within the original positions and one for longer ones, which hone
                   * does not take; a larger amplitude (LongRoPE, Ding et al. 2024, arXiv:2402.13753) */
    ROPE_SCALINGS
};
extern const char *const rope_scaling_names[ROPE_SCALINGS]; /* as config.json has them */

#define ROTARY_MOST_FACTORS 128 /* pairs of a head that may have factors of their own */

struct rotary {
    float theta; /* base */
    enum rope_scaling scaling;
    float factor, original_positions;
    float low_freq_factor, high_freq_factor;     /* llama3 */
    float beta_fast, beta_slow;                  /* yarn: turns over the original positions where the ramp begins and ends */
    bool truncate;                               /* yarn: the ramp's ends are whole numbers */
    float amplitude;                             /* yarn, longrope: of cosine and sine, 1 otherwise */
    float short_factor[ROTARY_MOST_FACTORS], long_factor[ROTARY_MOST_FACTORS]; /* longrope, by pair */
};

/* half numbers: the angle of pair i at position p is p * inv_freq[i]. */
void rotary_frequencies(const struct rotary *r, size_t half, float *inv_freq);

/* Are `factors` what plain frequencies are divided by in Llama 3's scaling?  Then r becomes that scaling: a GGUF has it as these numbers
 * alone.  Its ramp has always been from 1 to 4, over positions that are a power of two. */
bool rotary_find_llama3(struct rotary *r, size_t half, const float *factors);

/* Amplitudes by the factor that positions have grown by.  yarn's: 1 + 0.1 log(factor). */
float rotary_yarn_amplitude(float factor);
/* longrope's: sqrt(1 + log(factor) / log(original_positions)). */
float rotary_long_amplitude(float factor, float original_positions);

/* The longest text of a model with so many positions for which these frequencies are right. */
size_t rotary_positions(const struct rotary *r, size_t positions);

#endif
