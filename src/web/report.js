// Draws the charts of a report (eval/report.h).  Each <figure> holds its data as JSON
// and its numbers as a table: where this does not run, the tables are what there is.
(function () {
    "use strict";

    const figures = [];

    function colour(name) {
        return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    }

    function translucent(hex, alpha) {
        return hex + Math.round(alpha * 255).toString(16).padStart(2, "0");
    }

    function seriesColour(i) {
        return colour("series-" + (i % 6 + 1));
    }

    function short(x) {
        return x === null || !isFinite(x) ? "–" : String(Number(x.toPrecision(4)));
    }

    function withInterval(y, lo, hi) {
        const known = lo !== undefined && lo !== null && hi !== undefined && hi !== null;
        return short(y) + (known ? " [" + short(lo) + ", " + short(hi) + "]" : "");
    }

    // Whiskers: a dataset's `whiskers` is an array of [lo, hi] (or null) beside its points.
    const whiskers = {
        id: "whiskers",
        afterDatasetsDraw(chart) {
            const ctx = chart.ctx, lying = chart.options.indexAxis === "y";
            const scale = lying ? chart.scales.x : chart.scales.y;
            ctx.save();
            ctx.lineWidth = 1.5;
            chart.data.datasets.forEach((set, k) => {
                const meta = chart.getDatasetMeta(k);
                if (!set.whiskers || meta.hidden)
                    return;
                ctx.strokeStyle = set.whiskerColor;
                ctx.beginPath();
                set.whiskers.forEach((range, i) => {
                    if (!range || !meta.data[i])
                        return;
                    const lo = scale.getPixelForValue(range[0]);
                    const hi = scale.getPixelForValue(range[1]);
                    const at = lying ? meta.data[i].y : meta.data[i].x, cap = 4;
                    const line = (along, from, to) => {
                        ctx.moveTo(...(along ? [from, at] : [at, from]));
                        ctx.lineTo(...(along ? [to, at] : [at, to]));
                    };
                    line(lying, lo, hi);
                    for (const end of [lo, hi]) {
                        ctx.moveTo(...(lying ? [end, at - cap] : [at - cap, end]));
                        ctx.lineTo(...(lying ? [end, at + cap] : [at + cap, end]));
                    }
                });
                ctx.stroke();
            });
            ctx.restore();
        },
    };

    // A straight line at one value of the x axis: what a bar is held against.
    const reference = {
        id: "reference",
        afterDatasetsDraw(chart, args, options) {
            if (typeof options.value !== "number")
                return;
            const x = chart.scales.x.getPixelForValue(options.value), area = chart.chartArea;
            chart.ctx.save();
            chart.ctx.strokeStyle = colour("muted");
            chart.ctx.setLineDash([4, 4]);
            chart.ctx.beginPath();
            chart.ctx.moveTo(x, area.top);
            chart.ctx.lineTo(x, area.bottom);
            chart.ctx.stroke();
            chart.ctx.restore();
        },
    };

    // Some air between the legend and what it explains.
    const air = {
        id: "air",
        beforeInit(chart) {
            const fit = chart.legend.fit;
            chart.legend.fit = function () {
                fit.call(this);
                this.height += 10;
            };
        },
    };

    function axis(label, extra) {
        return Object.assign({
            type: "linear",
            title: {display: label !== "", text: label, color: colour("muted")},
            ticks: {color: colour("muted"), maxTicksLimit: 8, maxRotation: 0},
            grid: {color: colour("grid"), borderColor: colour("line"), tickLength: 4},
        }, extra);
    }

    function options(x, y, legend) {
        return {
            animation: false,
            responsive: true,
            maintainAspectRatio: false,
            interaction: {mode: "nearest", intersect: false},
            scales: {x, y},
            plugins: {
                legend: {
                    display: legend,
                    align: "start",
                    labels: {
                        color: colour("text"),
                        usePointStyle: true,
                        pointStyle: "line",
                        padding: 16,
                        filter: (item, data) => !data.datasets[item.datasetIndex].band,
                    },
                    // A series and its band are one thing.
                    onClick(event, item, box) {
                        const sets = box.chart.data.datasets, name = sets[item.datasetIndex].label;
                        const show = !box.chart.isDatasetVisible(item.datasetIndex);
                        sets.forEach((set, i) => {
                            if (set.label === name)
                                box.chart.setDatasetVisibility(i, show);
                        });
                        box.chart.update();
                    },
                },
                tooltip: {
                    filter: (item) => !item.dataset.band && !item.dataset.plain,
                    displayColors: legend,
                },
            },
        };
    }

    function points(series, y) {
        return series.x.map((x, i) => ({x, y: y[i] === null || x === null ? NaN : y[i]}));
    }

    function line(data) {
        const sets = [];
        data.series.forEach((s, i) => {
            const c = seriesColour(i), joined = data.kind === "xy";
            if (s.lo && !joined) {
                const band = {label: s.name, band: true, borderWidth: 0, pointRadius: 0,
                              pointHitRadius: 0, order: 1};
                sets.push(Object.assign({data: points(s, s.lo)}, band));
                sets.push(Object.assign({data: points(s, s.hi), fill: "-1",
                                         backgroundColor: translucent(c, 0.16)}, band));
            }
            sets.push({
                label: s.name,
                data: points(s, s.y),
                borderColor: c,
                backgroundColor: c,
                borderWidth: 2,
                borderJoinStyle: "round",
                pointRadius: joined ? 4 : s.x.length > 40 ? 0 : 2.5,
                pointHoverRadius: 5,
                source: s,
                whiskers: joined && s.lo
                    ? s.lo.map((lo, k) => lo === null || s.hi[k] === null ? null : [lo, s.hi[k]])
                    : undefined,
                whiskerColor: translucent(c, 0.75),
            });
        });
        const out = options(axis(data.x_label), axis(data.y_label), data.series.length > 1);
        if (data.kind === "line")
            out.scales.x.bounds = "data";
        // The whiskers have to fit, too.
        const ends = data.series.flatMap((s) => s.lo ? s.lo.concat(s.hi) : [])
            .filter((v) => v !== null);
        if (ends.length) {
            out.scales.y.suggestedMin = Math.min(...ends);
            out.scales.y.suggestedMax = Math.max(...ends);
        }
        out.plugins.tooltip.callbacks = {
            title: (items) => items.length ? data.x_label + " " + short(items[0].parsed.x) : "",
            label(item) {
                const s = item.dataset.source, i = item.dataIndex;
                return s.name + ": " + withInterval(s.y[i], s.lo && s.lo[i], s.hi && s.hi[i]);
            },
        };
        return {type: "line", data: {datasets: sets}, options: out, plugins: [whiskers, air]};
    }

    function bar(data) {
        const ranges = data.value.map((v, i) =>
            data.lo[i] === null || data.hi[i] === null ? null : [data.lo[i], data.hi[i]]);
        const labels = data.labels.map((s) => s.length > 28 ? s.slice(0, 27) + "…" : s);
        const ends = ranges.flatMap((r) => r || []).concat(data.value.filter((v) => v !== null));
        const out = options(
            axis(data.x_label, {beginAtZero: true, suggestedMin: Math.min(0, ...ends),
                                suggestedMax: Math.max(0, ...ends)}),
            axis("", {type: "category", ticks: {color: colour("text"), autoSkip: false},
                      grid: {display: false, borderColor: colour("line")}}), false);
        out.indexAxis = "y";
        out.interaction.axis = "y";
        out.plugins.reference = {value: data.reference};
        out.plugins.tooltip.callbacks = {
            title: (items) => items.length ? data.labels[items[0].dataIndex] : "",
            label: (item) => withInterval(data.value[item.dataIndex], data.lo[item.dataIndex],
                                          data.hi[item.dataIndex]),
        };
        return {
            type: "bar",
            data: {
                labels,
                datasets: [{
                    data: data.value,
                    backgroundColor: translucent(seriesColour(0), 0.55),
                    maxBarThickness: 22,
                    categoryPercentage: 0.9,
                    barPercentage: 0.75,
                    whiskers: ranges,
                    whiskerColor: colour("text"),
                }],
            },
            options: out,
            plugins: [whiskers, reference],
            height: 72 + 34 * labels.length,
        };
    }

    function reliability(data) {
        const most = Math.max(1, ...data.n), c = seriesColour(0);
        const known = data.p.map((p, i) => i).filter((i) => data.p[i] !== null);
        const whole = {min: 0, max: 1};
        const out = options(axis(data.x_label, whole), axis(data.y_label, whole), false);
        out.plugins.tooltip.callbacks = {
            title: (items) => items.length ? "stated " + short(items[0].parsed.x) : "",
            label(item) {
                const i = known[item.dataIndex];
                return withInterval(data.value[i], data.lo[i], data.hi[i]) + ", n = " + data.n[i];
            },
        };
        return {
            type: "line",
            data: {
                datasets: [{
                    data: [{x: 0, y: 0}, {x: 1, y: 1}],
                    plain: true,
                    borderColor: colour("muted"),
                    borderDash: [4, 4],
                    borderWidth: 1,
                    pointRadius: 0,
                    pointHitRadius: 0,
                }, {
                    data: known.map((i) => ({x: data.p[i], y: data.value[i]})),
                    borderColor: c,
                    backgroundColor: c,
                    borderWidth: 2,
                    clip: false,
                    // The area of a point shows how many predictions it stands for.
                    pointRadius: known.map((i) => 3 + 6 * Math.sqrt(data.n[i] / most)),
                    whiskers: known.map((i) => [data.lo[i], data.hi[i]]),
                    whiskerColor: translucent(c, 0.75),
                }],
            },
            options: out,
            plugins: [whiskers],
            square: true,
        };
    }

    const kinds = {line, xy: line, bar, reliability};

    function draw(figure) {
        const config = kinds[figure.data.kind](figure.data);
        if (figure.chart)
            figure.chart.destroy();
        figure.box.classList.add("drawn");
        figure.box.classList.toggle("square", config.square === true);
        if (config.height)
            figure.box.style.height = config.height + "px";
        figure.chart = new Chart(figure.canvas, config);
    }

    function drawAll() {
        figures.forEach(draw);
    }

    function print(on) {
        document.documentElement.toggleAttribute("data-light", on);
        drawAll();
    }

    Chart.defaults.font.family = getComputedStyle(document.documentElement).fontFamily;
    Chart.defaults.font.size = 13;
    for (const figure of document.querySelectorAll("figure")) {
        const script = figure.querySelector("script[type='application/json']");
        const canvas = figure.querySelector("canvas");
        if (!script || !canvas)
            continue;
        const item = {data: JSON.parse(script.textContent), canvas, box: canvas.parentNode};
        draw(item);
        figures.push(item);
        figure.querySelector("details").open = false;
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
})();
