#include "objective/bradley_terry.h"

#include <math.h>

#include "objective/check.h"
#include "objective/scalar.h"

const char *const bradley_terry_ties_names[] = {"rao_kupper", "davidson", NULL};

/* -log P of an outcome, and its derivatives with respect to x and to the tie parameter. */
struct term {
    double nll, dx, dtie;
};

/* P(a wins) = sigmoid(x - eta) */
static struct term rao_kupper_win(double x, double eta)
{
    double lost = sigmoid(eta - x);
    return (struct term){softplus(eta - x), -lost, lost};
}

/* P(tie) = 1 - sigmoid(x - eta) - sigmoid(-x - eta), which cancels; the same without cancelling is
 *        = (1 - e^(-2 eta)) sigmoid(eta - x) sigmoid(eta + x) */
static struct term rao_kupper_tie(double x, double eta)
{
    double a = sigmoid(x - eta), b = sigmoid(-x - eta);
    return (struct term){
        .nll = softplus(x - eta) + softplus(-x - eta) - log(-expm1(-2 * eta)),
        .dx = a - b,
        .dtie = -a - b - 2 / expm1(2 * eta),
    };
}

/* log of the softmax's denominator, and its derivatives: (P(a) - P(b)) / 2 and P(tie). */
static struct term davidson_total(double x, double ln_nu)
{
    double top = fmax(fabs(x) / 2, ln_nu);
    double a = exp(x / 2 - top), b = exp(-x / 2 - top), tie = exp(ln_nu - top), sum = a + b + tie;
    return (struct term){top + log(sum), (a - b) / sum / 2, tie / sum};
}

static struct term davidson_win(double x, double ln_nu)
{
    struct term t = davidson_total(x, ln_nu);
    return (struct term){t.nll - x / 2, t.dx - 0.5, t.dtie};
}

static struct term davidson_tie(double x, double ln_nu)
{
    struct term t = davidson_total(x, ln_nu);
    return (struct term){t.nll - ln_nu, t.dx, t.dtie - 1};
}

static struct term win(double x, const struct bradley_terry_config *cfg)
{
    return cfg->ties == TIES_DAVIDSON ? davidson_win(x, cfg->tie_parameter)
                                      : rao_kupper_win(x, cfg->tie_parameter);
}

static struct term tie(double x, const struct bradley_terry_config *cfg)
{
    return cfg->ties == TIES_DAVIDSON ? davidson_tie(x, cfg->tie_parameter)
                                      : rao_kupper_tie(x, cfg->tie_parameter);
}

static double entry(const double *x, size_t i, double otherwise)
{
    return x ? x[i] : otherwise;
}

static void add(struct term *sum, struct term t, double weight, double sign)
{
    if (weight == 0)
        return;
    sum->nll += weight * t.nll;
    sum->dx += weight * sign * t.dx;
    sum->dtie += weight * t.dtie;
}

/* The whole of pair i but for the centering. */
static struct term pair_term(const struct bradley_terry_pairs *p, size_t i,
                             const struct bradley_terry_config *cfg)
{
    double x = p->a[i] - p->b[i], m = entry(p->margin, i, 0), e = cfg->label_smoothing;
    double w_a = entry(p->w_a, i, 1), w_b = entry(p->w_b, i, 0), w_tie = entry(p->w_tie, i, 0);
    struct term sum = {0};
    add(&sum, win(x - m, cfg), (1 - e) * w_a + e * w_b, 1);
    /* "b wins" is "a wins" seen from -x. */
    add(&sum, win(-x - m, cfg), (1 - e) * w_b + e * w_a, -1);
    if (w_tie > 0)
        add(&sum, tie(x, cfg), w_tie, 1);
    return sum;
}

static int check_pairs(const struct bradley_terry_pairs *p, const struct bradley_terry_config *cfg,
                       struct err *err)
{
    if (p->n == 0)
        return err_set(err, "there are no pairs: a Bradley-Terry loss is a mean over at least one");
    if (check_label_smoothing(cfg->label_smoothing, err) ||
        check_not_negative("center_rewards_coefficient", cfg->center_rewards_coefficient, err) ||
        check_finite("a", p->a, NULL, p->n, err) || check_finite("b", p->b, NULL, p->n, err) ||
        check_weights("w_a", p->w_a, p->n, err) || check_weights("w_b", p->w_b, p->n, err) ||
        check_weights("w_tie", p->w_tie, p->n, err) ||
        check_weights("margin", p->margin, p->n, err))
        return -1;
    if (cfg->ties == TIES_DAVIDSON)
        return check_finite("ln_nu", &cfg->tie_parameter, NULL, 1, err);
    if (check_not_negative("eta", cfg->tie_parameter, err))
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (cfg->tie_parameter == 0 && entry(p->w_tie, i, 0) > 0)
            return err_set(err,
                           "'w_tie[%zu]' is %g but eta is 0, which makes ties impossible: start "
                           "eta above 0 (such as 0.4), or leave ties out",
                           i, p->w_tie[i]);
    return 0;
}

int bradley_terry_loss(double *loss, double *da, double *db, double *dtie,
                       const struct bradley_terry_pairs *pairs,
                       const struct bradley_terry_config *cfg, struct err *err)
{
    if (check_pairs(pairs, cfg, err))
        return -1;
    double n = (double)pairs->n, c = cfg->center_rewards_coefficient;
    double sum = 0, sum_dtie = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        struct term t = pair_term(pairs, i, cfg);
        double centre = pairs->a[i] + pairs->b[i];
        sum += t.nll + c * (centre * centre);
        sum_dtie += t.dtie;
        if (!isfinite(sum) || !isfinite(sum_dtie))
            return err_set(err,
                           "the loss of pair %zu is not finite: its scores are too far apart or "
                           "too far from 0; lower the learning rate",
                           i);
    }
    for (size_t i = 0; i < pairs->n; i++) {
        double dx = pair_term(pairs, i, cfg).dx;
        double dcentre = 2 * c * (pairs->a[i] + pairs->b[i]);
        da[i] = (dcentre + dx) / n;
        db[i] = (dcentre - dx) / n;
    }
    *loss = sum / n;
    if (dtie)
        *dtie = sum_dtie / n;
    return 0;
}

int bradley_terry_stats(struct bradley_terry_stats *stats, const struct bradley_terry_pairs *pairs,
                        const struct bradley_terry_config *cfg, struct err *err)
{
    if (check_pairs(pairs, cfg, err))
        return -1;
    struct bradley_terry_stats s = {.min_reward = INFINITY, .max_reward = -INFINITY};
    for (size_t i = 0; i < pairs->n; i++) {
        double a = pairs->a[i], b = pairs->b[i];
        double lean = entry(pairs->w_a, i, 1) - entry(pairs->w_b, i, 0);
        if (lean != 0) {
            double lead = lean > 0 ? a - b : b - a;
            s.decided++;
            s.accuracy += lead > 0;
            s.margin += lead;
        }
        s.min_reward = fmin(s.min_reward, fmin(a, b));
        s.max_reward = fmax(s.max_reward, fmax(a, b));
        s.mean_reward += a + b;
    }
    s.accuracy = s.decided ? s.accuracy / (double)s.decided : NAN;
    s.margin = s.decided ? s.margin / (double)s.decided : NAN;
    s.mean_reward /= 2 * (double)pairs->n;
    *stats = s;
    return 0;
}
