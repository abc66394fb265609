"""The style of our pages, the jury's card and the run's report: palette and type of the review app, readable in print."""

from __future__ import annotations

# Text on its ground has a contrast of 4.5 or more (WCAG 2.2, AA); tests compute it from these values.
INK, MUTED, GROUND, PAPER, LINE = "#1d2733", "#66727f", "#f5f7f9", "#ffffff", "#dfe4ea"
CALL, TINT, CAMP, STRANGE, MEMBER = "#0b6e99", "#e7f1f6", "#c2571a", "#b3261e", "#51606e"

STYLE = f"""
*{{box-sizing:border-box}}
body{{margin:0;font:14px/1.5 system-ui,"Liberation Sans",sans-serif;color:{INK};background:{GROUND}}}
header{{display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline;padding:10px 22px;background:{PAPER};
border-bottom:1px solid {LINE}}}
h1{{font-size:16px;margin:0;overflow-wrap:anywhere}}h1 span{{font-weight:400;margin-left:10px}}
.muted,header p{{color:{MUTED};font-size:12.5px;margin:0}}
nav{{padding:8px 22px 0;font-size:12.5px}}nav a{{display:inline-block;margin-right:16px;padding:2px 0;color:{CALL}}}
nav a:hover{{text-decoration-thickness:2px}}
main{{max-width:1240px;padding:12px 22px 30px}}
.card{{background:{PAPER};border:1px solid {LINE};border-radius:10px;padding:14px 18px 16px;margin-bottom:14px}}
h2{{font-size:15px;margin:0 0 8px}}h3{{font-size:13px;margin:0 0 6px}}
p{{margin:0 0 8px;max-width:100ch}}ul{{margin:0;padding-left:20px;max-width:110ch}}li{{margin:3px 0}}
.warnings{{border-left:5px solid {STRANGE}}}.warnings h2{{color:{STRANGE}}}.clear{{border-left:5px solid {LINE}}}
.lead{{font-weight:600}}.pair{{display:grid;grid-template-columns:1fr 1fr;gap:6px 30px}}.pair>div{{min-width:0}}
.stats,.facts{{margin:0 0 12px}}.stats{{display:flex;flex-wrap:wrap;gap:10px 28px}}.stats div{{max-width:23ch}}
.stats dd{{margin:0;font-size:19px;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
.stats dt{{color:{MUTED};font-size:12.5px;line-height:1.35}}
.facts div{{display:grid;grid-template-columns:170px 1fr;gap:12px;padding:3px 0;border-bottom:1px solid {LINE}}}
.facts dt{{color:{MUTED}}}.facts dd{{margin:0;overflow-wrap:anywhere}}
.scroll{{overflow-x:auto;margin-top:6px}}.scroll:focus-visible,summary:focus-visible,a:focus-visible
{{outline:2px solid {CALL};outline-offset:2px}}
table{{border-collapse:collapse;width:100%}}caption{{text-align:left;font-weight:600;padding-bottom:5px}}
caption span{{display:block;font-weight:400;color:{MUTED};font-size:12.5px;line-height:1.4;
max-width:min(110ch,calc(100vw - 84px))}}.pair caption span{{max-width:calc(50vw - 76px)}}
caption b{{font-weight:600}}
td,th{{padding:4px 8px;text-align:left;font-size:13px;border-bottom:1px solid {LINE};vertical-align:top}}
tr>:first-child{{padding-left:0}}thead th{{color:{MUTED};font-weight:500;vertical-align:bottom;line-height:1.25}}
tbody th{{font-weight:500;min-width:15ch}}
.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
th.n{{white-space:normal}}td.bar{{background:linear-gradient(90deg,{TINT} var(--share),transparent var(--share))}}
tr.pool>*{{border-top:2px solid {CALL};font-weight:650}}.id{{color:{MUTED};font-size:12px;font-weight:400;white-space:nowrap}}
.whole,data{{white-space:nowrap}}
.pair tbody th{{min-width:9ch}}.wide{{min-width:22ch}}.sentence{{min-width:17ch}}
.flag{{color:{STRANGE};font-weight:600}}td .flag{{white-space:nowrap}}
.vh{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
svg{{display:block;width:100%;max-width:600px;height:auto;margin:6px 0 4px}}svg text{{font-size:12.5px;fill:{INK}}}
svg .quiet{{fill:{MUTED}}}svg .value{{font-variant-numeric:tabular-nums}}svg rect.room{{fill:{GROUND}}}
svg line{{stroke-width:2.5}}svg line.room{{stroke:{LINE};stroke-width:1}}
svg .member{{fill:{MEMBER};stroke:{MEMBER}}}svg .pool{{fill:{CALL};stroke:{CALL}}}
svg circle{{stroke-width:2}}svg circle.hollow{{fill:{PAPER}}}svg rect{{stroke:none}}
details{{margin-top:10px}}summary{{cursor:pointer;color:{CALL};font-weight:600}}
footer{{color:{MUTED};font-size:12.5px;padding:0 22px 24px;max-width:1240px}}
@media(max-width:900px){{.pair{{grid-template-columns:1fr}}.pair caption span{{max-width:calc(100vw - 64px)}}
main{{padding:10px 12px 24px}}header,nav{{padding-left:14px;
padding-right:14px}}.card{{padding:12px 14px}}.facts div{{grid-template-columns:120px 1fr}}}}
@media print{{body{{background:{PAPER};font-size:11px}}nav{{display:none}}main{{max-width:none;padding:8px 0}}
.card{{border-radius:0;border-width:1px 0 0;padding:10px 0}}.scroll{{overflow:visible}}
caption span,.pair caption span{{max-width:none}}
td,th{{font-size:10.5px}}
caption span,.id,.muted,.stats dt{{font-size:10px}}
.stats,svg,tr,h2{{break-inside:avoid}}h2{{break-after:avoid}}thead{{display:table-header-group}}
.warnings{{border-left-width:5px;padding-left:10px}}*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
details::details-content{{content-visibility:visible;display:block;block-size:auto}}}}
"""

# Beside these: tables that sort, figures, and the first page of a run's report. A stripe of cells without a term of their
# own is hatched, as in the figures.
REPORT = f"""
section{{scroll-margin-top:8px}}p,li,dt,dd,h2,h3,summary,figcaption{{overflow-wrap:anywhere}}
[aria-labelledby=glance]>.stats{{display:grid;grid-template-columns:repeat(auto-fit,minmax(142px,1fr));gap:8px 18px}}
.first a,.note a{{color:{CALL}}}
.stats small{{font-size:12.5px;font-weight:400;color:{MUTED};white-space:nowrap}}
.first{{display:grid;grid-template-columns:minmax(0,1.6fr) minmax(0,1fr);gap:18px 36px;border-top:1px solid {LINE};
padding-top:12px}}
.first caption span{{max-width:80ch}}
.promise,.next{{margin-bottom:16px}}.promise h3,.next h3{{font-size:14px}}
.promise li,.next li{{line-height:1.42}}
.labels td,.labels th{{padding-top:3px;padding-bottom:3px;vertical-align:middle}}.labels td:nth-child(2)
{{width:19%;min-width:80px}}
span.stripe{{display:block;height:13px;width:max(var(--share),3px);border-radius:2px;background:{CALL}}}
span.stripe.rest{{background:{MUTED}}}
span.stripe.other{{background:repeating-linear-gradient(45deg,{MUTED} 0 1.5px,{LINE} 1.5px 5px)}}
span.stripe.unresolved{{background:repeating-linear-gradient(0deg,{MUTED} 0 1.5px,{LINE} 1.5px 4px)}}
span.stripe.unseen{{background:repeating-linear-gradient(-45deg,{STRANGE} 0 1.5px,#f7e4e2 1.5px 5px)}}
tr.total>*{{border-top:1px solid {MUTED};font-weight:650}}tr.block th{{padding-top:12px;font-weight:650}}
.labels tr.block th{{padding-top:8px;color:{MUTED};font-size:12.5px}}.labels .n{{white-space:nowrap}}
.sortable{{width:auto;min-width:min(100%,640px)}}.sortable td,.sortable th,.labels th{{overflow-wrap:anywhere;padding-right:14px}}
.sortable td.short,.sortable td.short .id{{white-space:nowrap}}.sortable th.words,.sortable td.words{{min-width:16ch}}
.sortable th.sentence,.sortable td.sentence{{min-width:32ch;max-width:80ch}}
.sortable tbody th{{min-width:14ch}}.sortable .n{{min-width:8.5ch}}
.sortable thead th{{overflow-wrap:normal}}.card>h3{{margin-top:16px}}.labels tbody th{{min-width:20ch}}
.table{{margin-bottom:18px}}.table:last-child{{margin-bottom:0}}
.note{{color:{MUTED};font-size:12.5px;margin:4px 0 0}}.file{{overflow-wrap:anywhere}}
code{{font:12.5px/1.4 ui-monospace,"Liberation Mono",monospace;background:{GROUND};border:1px solid {LINE};border-radius:4px;
padding:1px 5px;overflow-wrap:anywhere}}
figure{{margin:10px 0 16px}}figure img{{display:block;max-width:100%;min-width:min(560px,var(--own));height:auto}}
figcaption{{color:{MUTED};font-size:12.5px;max-width:110ch;margin-top:6px}}figcaption b{{color:{INK};font-weight:600}}
details>*+*{{margin-top:8px}}
th button{{all:unset;cursor:pointer;display:inline-block}}
th button:focus-visible{{outline:2px solid {CALL};outline-offset:2px;border-radius:2px}}
th button:hover{{color:{CALL};text-decoration:underline}}
[data-sortable] .sortable th button::after{{content:"\\2195";display:inline-block;width:1.1em;text-align:right;opacity:.55}}
[data-sortable] .sortable th[aria-sort] button{{color:{INK};font-weight:650}}
[data-sortable] .sortable th[aria-sort] button::after{{opacity:1}}
[data-sortable] .sortable th[aria-sort=ascending] button::after{{content:"\\2191"}}
[data-sortable] .sortable th[aria-sort=descending] button::after{{content:"\\2193"}}
.paper{{border-left:3px solid {LINE};padding-left:14px}}.paper p{{max-width:95ch}}
main,footer{{max-width:1400px}}
@media(max-width:900px){{.first{{grid-template-columns:minmax(0,1fr)}}}}
@media(max-width:600px){{.labels td:nth-child(2){{display:none}}}}
@media print{{figure,.promise,.next{{break-inside:avoid}}figure img{{min-width:0;max-width:100%}}
.first{{grid-template-columns:1.3fr 1fr;gap:8px 18px}}th button::after{{display:none!important}}
.note,figcaption,code{{font-size:10px}}section{{break-inside:auto}}a{{color:inherit;text-decoration:none}}
tbody th{{min-width:9ch}}}}
"""
