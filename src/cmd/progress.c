#include "cmd/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "util/buf.h"

#define REDRAW_SECONDS 0.1
#define LINE_SECONDS 10.0

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_time(struct buf *line, double seconds)
{
    unsigned long s = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 1000000000UL;
    if (s >= 3600)
        buf_printf(line, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        buf_printf(line, "%lu:%02lu", s / 60, s % 60);
}

static void add_bar(struct buf *line, double share)
{
    enum { CELLS = 24 };
    int full = (int)(share * CELLS);
    buf_str(line, " [");
    for (int i = 0; i < CELLS; i++)
        buf_str(line, i < full ? "=" : i == full ? ">" : " ");
    buf_printf(line, "] %.0f%%", 100 * share);
}

/* Bytes are told in units that people read. */
static bool in_bytes(const struct progress *p)
{
    return !strcmp(p->unit, "B");
}

static void add_amounts(struct buf *line, const struct progress *p)
{
    char done[BYTES_TEXT], total[BYTES_TEXT];
    if (in_bytes(p)) {
        buf_str(line, bytes_text(done, p->done));
        if (p->total)
            buf_printf(line, " of %s", bytes_text(total, p->total));
    } else {
        buf_printf(line, "%zu", p->done);
        if (p->total)
            buf_printf(line, "/%zu", p->total);
    }
}

static void add_rate(struct buf *line, const struct progress *p, double rate)
{
    char text[BYTES_TEXT];
    if (in_bytes(p))
        buf_printf(line, "  %s/s  ", bytes_text(text, (size_t)rate));
    else
        buf_printf(line,
                   rate < 1     ? "  %.3f %s/s  "
                   : rate < 100 ? "  %.2f %s/s  "
                                : "  %.0f %s/s  ",
                   rate, p->unit);
}

static void draw(struct progress *p, double t)
{
    struct buf line;
    buf_init(&line, 1024);
    double elapsed = t - p->started;
    double rate = elapsed > 0 && p->done > p->first ? (double)(p->done - p->first) / elapsed : 0;
    buf_printf(&line, "%s  ", p->what);
    add_amounts(&line, p);
    if (p->total && p->terminal)
        add_bar(&line, (double)p->done / (double)p->total);
    if (rate > 0) {
        add_rate(&line, p, rate);
        if (p->total > p->done) {
            add_time(&line, (double)(p->total - p->done) / rate);
            buf_str(&line, " left");
        } else {
            buf_str(&line, "in ");
            add_time(&line, elapsed);
        }
    }
    if (p->metrics[0])
        buf_printf(&line, "  %s", p->metrics);
    if (p->terminal) {
        struct winsize size;
        size_t width = ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1
                           ? size.ws_col - 1u
                           : 79;
        int n = (int)(line.len < width ? line.len : width);
        fprintf(p->out, "\r%.*s\033[K", n, line.data);
    } else {
        fprintf(p->out, "%s\n", line.data);
    }
    fflush(p->out);
    p->shown = t;
    buf_release(&line);
}

void progress_start(struct progress *p, const char *what, const char *unit, size_t first,
                    size_t total, bool quiet)
{
    *p = (struct progress){.out = stderr,
                           .terminal = isatty(STDERR_FILENO) == 1,
                           .quiet = quiet,
                           .what = what,
                           .unit = unit,
                           .first = first,
                           .total = total,
                           .done = first};
    p->started = now();
    p->shown =
        p->terminal
            ? 0
            : p->started; /* a bar shows at once, a plain line when there is something to say */
}

void progress_update(struct progress *p, size_t done, const char *metrics)
{
    p->done = p->total && done > p->total ? p->total : done;
    if (metrics)
        snprintf(p->metrics, sizeof p->metrics, "%s", metrics);
    double t = now();
    if (!p->quiet && t - p->shown >= (p->terminal ? REDRAW_SECONDS : LINE_SECONDS))
        draw(p, t);
}

void progress_clear(struct progress *p)
{
    if (p->quiet || !p->terminal)
        return;
    fputs("\r\033[K", p->out);
    fflush(p->out);
    p->shown = 0;
}

void progress_end(struct progress *p)
{
    if (p->quiet)
        return;
    draw(p, now());
    if (p->terminal)
        fputc('\n', p->out);
}
