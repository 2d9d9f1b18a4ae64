#include "objective/check.h"

#include <math.h>

int check_finite(const char *name, const double *x, const bool *mask, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) && (!mask || mask[i]))
            return err_set(err,
                           "'%s[%zu]' is %s: nothing is computed from a number that is not finite; "
                           "look at this row's data, or lower the learning rate",
                           name, i, isnan(x[i]) ? "not a number" : "infinite");
    return 0;
}

int check_weights(const char *name, const double *x, size_t n, struct err *err)
{
    if (!x)
        return 0;
    if (check_finite(name, x, NULL, n, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (x[i] < 0)
            return err_set(err, "'%s[%zu]' is %g: it must not be negative; correct this row", name,
                           i, x[i]);
    return 0;
}

int check_number(const char *name, double x, struct err *err)
{
    if (isfinite(x))
        return 0;
    return err_set(err, "'%s' is %g: it must be a finite number", name, x);
}

int check_positive(const char *name, double x, struct err *err)
{
    if (x > 0 && isfinite(x))
        return 0;
    return err_set(err, "'%s' is %g: it must be a number above 0", name, x);
}

int check_not_negative(const char *name, double x, struct err *err)
{
    if (x >= 0 && isfinite(x))
        return 0;
    return err_set(err, "'%s' is %g: it must be 0 or a number above it", name, x);
}

int check_fraction(const char *name, double x, struct err *err)
{
    if (x >= 0 && x <= 1)
        return 0;
    return err_set(err, "'%s' is %g: it must be from 0 to 1", name, x);
}

int check_label_smoothing(double x, struct err *err)
{
    if (x >= 0 && x < 0.5)
        return 0;
    return err_set(err,
                   "'label_smoothing' is %g: it is the share of labels thought to be wrong, at "
                   "least 0 and less than 0.5",
                   x);
}
