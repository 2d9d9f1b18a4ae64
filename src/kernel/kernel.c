#include "kernel/kernel.h"

#include <string.h>

extern const struct kernel kernel_plain;
#if defined(__x86_64__)
#include <cpuid.h>
extern const struct kernel kernel_avx2, kernel_avx512;

/* Halves to floats; Clang's __builtin_cpu_supports() does not know it by name. */
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#elif defined(__aarch64__)
extern const struct kernel kernel_neon;
#endif

static const struct kernel *chosen;

size_t kernel_list(const struct kernel *out[4])
{
    size_t n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        out[n++] = &kernel_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        out[n++] = &kernel_avx2;
#elif defined(__aarch64__)
    out[n++] = &kernel_neon; /* always there */
#endif
    out[n++] = &kernel_plain;
    return n;
}

const struct kernel *kernel(void)
{
    const struct kernel *k = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (!k) {
        const struct kernel *all[4];
        kernel_list(all);
        k = all[0];
        __atomic_store_n(&chosen, k, __ATOMIC_RELAXED);
    }
    return k;
}

int kernel_select(const char *name)
{
    const struct kernel *all[4];
    size_t n = kernel_list(all);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(all[i]->name, name)) {
            __atomic_store_n(&chosen, all[i], __ATOMIC_RELAXED);
            return 0;
        }
    }
    return -1;
}
