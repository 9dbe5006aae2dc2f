// Built from frontend/ by scripts/frontend: do not edit.
var a=[["sensor.max_cell_voltage","highest"],["sensor.min_cell_voltage","lowest"],["sensor.max_temperature",""],["sensor.min_temperature",""]],e=["sensor.pack_voltage_spread","sensor.current_sharing_deviation"];function s(s,l,r){let{html:i}=s,p=l.value("sensor.packs_online"),o=e.flatMap(a=>l.value(a)??[]),c=l.value("sensor.current_sharing_deviation")?.attributes.shares;return i`<style>
${".bank,.pack{display:grid;grid-template-columns:minmax(0,1fr);gap:12px}.bank .online{display:flex;gap:8px;align-items:baseline}.bank .bar-head{margin:0}.extremes{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,120px),1fr));gap:8px 12px}.extremes .value{display:flex;gap:6px;align-items:center}.packs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,220px),1fr));gap:6px}.pack{width:100%;height:100%;box-sizing:border-box;align-content:start;gap:4px;padding:8px 12px;border-radius:8px;background:var(--secondary-background-color)}.pack strong{font-weight:var(--medium);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.pack .values{display:flex;flex-wrap:wrap;gap:2px 12px}.pack .label{font-size:var(--small);color:var(--muted)}.pack .track{height:6px;border-radius:3px}.pack .fill,.pack .share{position:absolute;inset-block:0;inset-inline-start:0}.pack .fill{width:var(--size);background:var(--primary-color)}.pack .share{inset-inline-start:var(--at);border-inline-start:2px solid var(--primary-text-color)}.pack.gone .values{color:var(--muted)}.pack .missing{font-size:var(--small);overflow-wrap:anywhere;padding-inline-start:8px;border-inline-start:4px solid var(--warning-color)}"}
</style>
<section class="cell-part bank">
<div class="bar-head">
${p?s.open(p,"online",i`<h3>${p.name}</h3>
<span class="value">${p.text} / ${p.attributes.packs}</span>`,!0):""}
<span class="summary"
>${o.map(a=>s.open(a,"",function({html:a},{name:e,text:s}){return a`${e} <span class="value">${s}</span>`}(s,a),!0))}</span
>
</div>
<div class="extremes">
${a.map(([a,e])=>function(a,e,s,l){if(!e)return"";let{pack:r,cell:i,incomplete:p}=e.attributes,o=[l.find(e=>n(a,e)===r)?.battery.title??r,...void 0===i?[]:[a.words("cell",{cell:String(i)})],...p?[t(a)]:[]];return a.open(e,`fact ${s}`,a.html`<span class="label">${e.name}</span>
<span class="value">${e.text}<span class="sign"></span></span>
<span class="label">${o.join(" · ")}</span>`,!0)}(s,l.value(a),e,r))}
</div>
<ul class="packs">
${r.map(a=>i`<li>${function(a,{battery:e,model:s,live:n},t){let{html:l,words:r,percent:i}=a,{soc:p,voltage:o,current:c}=s,m=p??o,u=n?.reason,d=n?.available?"":u&&a.localize(`component.jk_bms.exceptions.${u.key}.message`,u.placeholders)||a.hass.localize("state.default.unavailable"),v=s.states.filter(({state:a})=>"off"===a),g=l`<strong>${e.title}</strong>
<span class="values"
>${[p,o,c].map(a=>a?l`<span class="value">${a.text}</span>`:"")}</span
>
${t?l`<span class="track"
><span class="fill" style="--size: ${t.current}%"></span
><span class="share" style="--at: ${t.capacity}%"></span
></span>
<span class="label"
>${r("current")} <span class="value">${i(t.current)}</span> ·
${r("capacity")} <span class="value">${i(t.capacity)}</span></span
>`:""}
${v.map(({name:a,text:e})=>l`<span class="label">${a}: ${e}</span>`)}
${d?l`<span class="missing">${d}</span>`:""}`,x="pack "+(n?.available?"":"gone");return m?a.open(m,x,g,!0):l`<div class=${x}>${g}</div>`}(s,a,c?.[n(s,a)])}</li>`)}
</ul>
</section>`}function n({hass:a},{battery:e}){return a.devices[e.device_id]?.name??e.title}function t({localize:a}){return a("component.jk_bms.entity.sensor.min_cell_voltage.state_attributes.incomplete.name")}export{s as bankPart};
