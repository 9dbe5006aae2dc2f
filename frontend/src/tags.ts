/** Names of the elements, as they stand in the dashboards of users. */
export const BATTERY_CARD = "jk-bms-battery-card";
export const OVERVIEW_CARD = "jk-bms-overview-card";
export const DASHBOARD_EDITOR = "jk-bms-dashboard-editor";
export const CELLS_FEATURE = "jk-bms-cells-feature";
