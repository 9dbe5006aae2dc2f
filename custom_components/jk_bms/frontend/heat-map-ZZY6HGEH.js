// Built from frontend/ by scripts/frontend: do not edit.
var e=24;function a(e,a){let{html:t,svg:l}=e,s=[];for(let e=0;e<24;e+=1){let t=a.flatMap(({values:a},t)=>{let l=a.get(e);return void 0===l?[]:[{y:t,volts:l}]}),l=t.reduce((e,{volts:a})=>e+a,0)/t.length;s.push(...t.map(({y:a,volts:t})=>({x:e,y:a,deviation:t-l})))}let r=Math.max(.01,...s.map(({deviation:e})=>Math.abs(e))),n=e.millivolts(r);return t`<section class="heat-map" style="--rows: ${a.length}">
<span class="bar-head summary"
><span>${e.title}</span>
<span class="value">${a[0]?.cell} – ${a.at(-1)?.cell}, ± ${n}</span></span
>
<svg
viewBox="0 0 ${24} ${a.length}"
preserveAspectRatio="none"
role="img"
aria-label=${e.describe(a.length,n)}
>
${s.map(({x:e,y:a,deviation:t})=>l`<rect x=${e} y=${a} width="0.96" height="0.9" style=${function(e){return`fill: color-mix(in srgb, ${e<0?"var(--low-cell)":"var(--high-cell)"} ${Math.round(100*Math.abs(e))}%, var(--secondary-background-color))`}(t/r)}></rect>`)}
</svg>
</section>`}export{e as COLUMNS,a as heatMap};
