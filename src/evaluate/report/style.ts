/** The report's look: system fonts, one column, light and dark; wide tables and code scroll by themselves. */
export const style = `
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--line:#d9dee4;--paper:#fff;--card:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#9aa4af;--line:#39424c;--paper:#14181d;--card:#1d232a}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:760px;margin:0 auto;padding:16px}h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .6rem}h3{font-size:.85rem;margin:0;color:var(--dim)}
.verdict{border-radius:10px;padding:16px 18px;color:#fff;background:#6b6250}.verdict.better{background:#176b4c}.verdict.worse{background:#a5322a}
.verdict strong{font-size:1.5rem}.verdict p{margin:.4rem 0 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}
figure{margin:0 0 1.2rem}figcaption{font-weight:600}svg{width:100%;height:auto;display:block}svg text{fill:var(--dim)}svg .background{stroke:var(--line)}svg .role-legend .background{stroke:none}.value svg{max-width:480px}svg .role-axis-grid line{stroke:var(--line)}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:0 16px}
article{background:var(--card);border-radius:8px;padding:10px 14px;margin-bottom:12px}article p{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2rem 0}.prompt{font-weight:600}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:14px}@media (max-width:560px){.pair{grid-template-columns:1fr}}
pre{background:var(--card);border-radius:8px;padding:12px;overflow-x:auto;font-size:.85rem}summary{font-weight:600;cursor:pointer}.note{color:var(--dim);font-size:.9rem;margin:0 0 .6rem}
`
