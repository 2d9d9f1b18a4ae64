#include "model/rotary.h"

#include <math.h>

const char *const rope_scaling_names[ROPE_SCALINGS] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};

static const float TURN = 6.28318530717958648f;

static float llama3(const struct rotary *r, float f)
{
    float wave = TURN / f, original = r->original_positions;
    float low = original / r->low_freq_factor, high = original / r->high_freq_factor;
    if (wave > low)
        return f / r->factor;
    if (wave < high)
        return f;
    float smooth = (original / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1.0f - smooth) * f / r->factor + smooth * f;
}

/* The pair, as a fraction, whose wave turns so often over the original positions. */
static double pair_of_turns(const struct rotary *r, size_t half, double turns)
{
    return (double)half * log((double)r->original_positions / (turns * (double)TURN)) / log((double)r->theta);
}

static void yarn(const struct rotary *r, size_t half, float *inv_freq)
{
    double low = pair_of_turns(r, half, (double)r->beta_fast), high = pair_of_turns(r, half, (double)r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(2 * half - 1));
    if (low == high)
        high += 0.001;
    for (size_t i = 0; i < half; i++) {
        double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        inv_freq[i] = (float)((double)inv_freq[i] / (double)r->factor * ramp + (double)inv_freq[i] * (1 - ramp));
    }
}

void rotary_frequencies(const struct rotary *r, size_t half, float *inv_freq)
{
    for (size_t i = 0; i < half; i++) {
        inv_freq[i] = 1.0f / powf(r->theta, (float)(2 * i) / (float)(2 * half));
        if (r->scaling == ROPE_LONG)
            inv_freq[i] = 1.0f / (r->short_factor[i] * powf(r->theta, (float)(2 * i) / (float)(2 * half)));
        if (r->scaling == ROPE_LINEAR)
            inv_freq[i] /= r->factor;
        if (r->scaling == ROPE_LLAMA3)
            inv_freq[i] = llama3(r, inv_freq[i]);
    }
    if (r->scaling == ROPE_YARN)
        yarn(r, half, inv_freq);
}

bool rotary_find_llama3(struct rotary *r, size_t half, const float *factors)
{
    struct rotary guess = *r;
    guess.scaling = ROPE_LLAMA3;
    guess.low_freq_factor = 1;
    guess.high_freq_factor = 4;
    guess.factor = 1;
    for (size_t i = 0; i < half; i++)
        guess.factor = factors[i] > guess.factor ? factors[i] : guess.factor;
    for (guess.original_positions = 16; guess.original_positions < 1e6f; guess.original_positions *= 2) {
        bool same = true;
        for (size_t i = 0; same && i < half; i++) {
            float plain = 1.0f / powf(r->theta, (float)(2 * i) / (float)(2 * half));
            same = fabsf(plain / llama3(&guess, plain) / factors[i] - 1) < 1e-4f;
        }
        if (same) {
            *r = guess;
            return true;
        }
    }
    return false;
}

float rotary_long_amplitude(float factor, float original_positions)
{
    return factor > 1 ? sqrtf(1.0f + logf(factor) / logf(original_positions)) : 1.0f;
}

size_t rotary_positions(const struct rotary *r, size_t positions)
{
    return r->scaling == ROPE_LONG && r->original_positions < (float)positions ? (size_t)r->original_positions : positions;
}

float rotary_yarn_amplitude(float factor)
{
    return factor > 1 ? 0.1f * logf(factor) + 1.0f : 1.0f;
}
