#include "cmd/policy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/file.h"
#include "util/mem.h"

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int open_own(struct policy *p, const char *model, struct err *err)
{
    struct model *own = xcalloc(1, sizeof *own);
    if (model_open(own, model, NULL, err)) {
        free(own);
        return -1;
    }
    p->net.model = p->own = own;
    return 0;
}

int policy_open_any(struct policy *p, const char *path, const char *adapter, const struct loaded *base, struct err *err)
{
    *p = (struct policy){0};
    struct artefact a;
    int rc = artefact_find(&a, path, err);
    if (rc == 0) {
        p->path = xstrdup(path);
        p->net.model = &base->model;
        /* an adapter whose base has moved is tried on the one at hand; its shapes are checked below */
        bool moved = a.adapter && a.model && !file_exists(a.model);
        if (a.model && !moved && !same_file(a.model, base->model_path))
            rc = open_own(p, a.model, err);
    }
    if (rc == 0 && adapter)
        rc = artefact_take_adapter(&a, adapter, err);
    if (rc == 0 && a.adapter) {
        rc = adapter_open(&p->adapter, p->net.model, a.adapter, err);
        p->net.adapter = &p->adapter;
    }
    artefact_release(&a);
    if (rc)
        policy_release(p);
    return rc;
}

int policy_open(struct policy *p, const char *path, const struct loaded *base, struct err *err)
{
    if (policy_open_any(p, path, NULL, base, err))
        return -1;
    size_t own = p->net.model->config.vocab, theirs = base->model.config.vocab;
    int rc = own == theirs ? 0 : err_set(err, "'%s' has a vocabulary of %zu and '%s' one of %zu: only models that read the same tokens "
                                              "can be compared", path, own, base->model_path, theirs);
    if (rc)
        policy_release(p);
    return rc;
}

void policy_release(struct policy *p)
{
    adapter_release(&p->adapter);
    if (p->own) {
        model_release(p->own);
        free(p->own);
    }
    free(p->path);
    *p = (struct policy){0};
}
