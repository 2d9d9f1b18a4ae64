#include "objective/stepwise.h"

#include "objective/check.h"
#include "objective/scalar.h"

int stepwise_loss(double *loss, double *dscore, double score, bool right, struct err *err)
{
    if (check_number("score", score, err))
        return -1;
    *loss = softplus(right ? -score : score);
    *dscore = right ? -sigmoid(-score) : sigmoid(score);
    return 0;
}
