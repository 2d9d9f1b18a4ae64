/* Functions of one number, written so that they neither overflow nor cancel at either end. */
#ifndef HONE_OBJECTIVE_SCALAR_H
#define HONE_OBJECTIVE_SCALAR_H

#include <math.h>

/* 1 / (1 + e^-x) */
static inline double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

/* log(1 + e^x); its derivative is sigmoid(x). */
static inline double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

/* log sigmoid(x); its derivative is sigmoid(-x). */
static inline double log_sigmoid(double x)
{
    return -softplus(-x);
}

/* log(1 - e^x), x < 0 (Maechler 2012): which of the two forms does not cancel changes at -log 2. */
static inline double log1mexp(double x)
{
    return x > -0x1.62e42fefa39efp-1 ? log(-expm1(x)) : log1p(-exp(x));
}

static inline double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
