// Built from frontend/ by scripts/frontend: do not edit.
var a=[["sensor.max_cell_voltage","highest"],["sensor.min_cell_voltage","lowest"],["sensor.max_temperature",""],["sensor.min_temperature",""]],e=["binary_sensor.charging","binary_sensor.discharging"],s=["sensor.pack_voltage_spread","sensor.current_sharing_deviation"];function n(n,r,i){let{html:p}=n,o=r.value("sensor.packs_online"),c=s.flatMap(a=>r.value(a)??[]),m=r.value("sensor.current_sharing_deviation")?.attributes.shares;return p`<style>
${".bank,.pack{display:grid;grid-template-columns:minmax(0,1fr);gap:12px}.bank .online{display:flex;gap:8px;align-items:baseline}.bank .bar-head{margin:0}.extremes{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,120px),1fr));gap:8px 12px}.extremes .value{display:flex;gap:6px;align-items:center}.packs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,220px),1fr));gap:6px}.pack{width:100%;height:100%;box-sizing:border-box;align-content:start;gap:4px;padding:8px 12px;border-radius:8px;background:color-mix(in srgb,var(--muted) 6%,transparent)}.pack strong{font-weight:var(--medium);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.pack .values{display:flex;flex-wrap:wrap;gap:2px 12px}.pack .label{font-size:var(--small);color:var(--muted)}.pack .track{height:6px;border-radius:3px}.pack .fill,.pack .share{position:absolute;inset-block:0;inset-inline-start:0}.pack .fill{width:var(--size);background:var(--primary-color)}.pack .share{inset-inline-start:var(--at);border-inline-start:2px solid var(--primary-text-color)}.pack.gone .values{color:var(--muted)}.pack .missing{font-size:var(--small);overflow-wrap:anywhere;padding-inline-start:8px;border-inline-start:4px solid var(--warning-color)}"}
</style>
<section class="cell-part bank">
<div class="bar-head">
${o?n.open(o,"online",p`<h3>${o.name}</h3>
<span class="value">${o.text} / ${o.attributes.packs}</span>`,!0):""}
<span class="summary"
>${c.map(a=>n.open(a,"",function({html:a},{name:e,text:s}){return a`${e} <span class="value">${s}</span>`}(n,a),!0))}</span
>
</div>
<div class="extremes">
${a.map(([a,e])=>function(a,e,s,n){if(!e)return"";let{pack:r,cell:i,incomplete:p}=e.attributes,o=[n.find(e=>t(a,e)===r)?.battery.title??r,...void 0===i?[]:[a.words("cell",{cell:String(i)})],...p?[l(a)]:[]];return a.open(e,`fact ${s}`,a.html`<span class="label">${e.name}</span>
<span class="value">${e.text}<span class="sign"></span></span>
<span class="label">${o.join(" · ")}</span>`,!0)}(n,r.value(a),e,i))}
</div>
<ul class="packs">
${i.map(a=>p`<li>${function(a,{battery:s,model:n,live:t},l){let{html:r,words:i,percent:p}=a,{soc:o,voltage:c,current:m}=n,u=o??c,d=t?.reason,v=t?.available?"":d&&a.localize(`component.jk_bms.exceptions.${d.key}.message`,d.placeholders)||a.hass.localize("state.default.unavailable"),g=e.flatMap(a=>n.value(a)??[]).filter(({state:a})=>"off"===a),x=r`<strong>${s.title}</strong>
<span class="values"
>${[o,c,m].map(a=>a?r`<span class="value">${a.text}</span>`:"")}</span
>
${l?r`<span class="track"
><span class="fill" style="--size: ${l.current}%"></span
><span class="share" style="--at: ${l.capacity}%"></span
></span>
<span class="label"
>${i("current")} <span class="value">${p(l.current)}</span> ·
${i("capacity")} <span class="value">${p(l.capacity)}</span></span
>`:""}
${g.map(({name:a,text:e})=>r`<span class="label">${a}: ${e}</span>`)}
${v?r`<span class="missing">${v}</span>`:""}`,b="pack "+(t?.available?"":"gone");return u?a.open(u,b,x,!0):r`<div class=${b}>${x}</div>`}(n,a,m?.[t(n,a)])}</li>`)}
</ul>
</section>`}function t({hass:a},{battery:e}){return a.devices[e.device_id]?.name??e.title}function l({localize:a}){return a("component.jk_bms.entity.sensor.min_cell_voltage.state_attributes.incomplete.name")}export{n as bankPart};
